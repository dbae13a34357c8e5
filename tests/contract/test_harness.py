"""lm-evaluation-harness: the same log-likelihoods through the gateway as from vLLM's own server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.client_environments import CLIENTS, ClientRunner, python_clients
from tests.ports import reserved_port
from tests.processes import end_process
from tests.stacks import ROOT, wait_until

QUESTIONS, OPTIONS = 10, 4


@contextmanager
def vllm_server(model: str, folder: Path, log: Path) -> Iterator[Callable[[], str]]:
    """Run vLLM's own HTTP server with the engine settings of the worker.

    Yields a function that waits until the server responds and returns its address.
    """
    port = reserved_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CYLLM_")}
    environment |= {
        "CYLLM_WORKER_MODEL": model,
        "CYLLM_WORKER_MODEL_PATH": str(folder),
        "CYLLM_REDIS_URL": "redis://unused",
    }
    command = [sys.executable, "-m", "benchmarks.relay.peers", "server", str(port)]
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        yield lambda: _answering(server, url, log)
    finally:
        end_process(server)


def _answering(server: subprocess.Popen[bytes], url: str, log: Path) -> str:
    wait_until(lambda: _healthy(server, url), f"vLLM's server answers; {log}")
    return url


def _healthy(server: subprocess.Popen[bytes], url: str) -> bool:
    assert server.poll() is None, "vLLM's server has ended"
    try:
        return httpx.get(f"{url}/health", timeout=3, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def evaluate(client_runner: ClientRunner, base_url: str, tokenizer: Path, output: Path) -> tuple[Any, Any]:
    """Return log-likelihood and greediness of each option, and the scores."""
    arguments = {
        "model": client_runner.stack.model,
        "base_url": f"{base_url}/v1/completions",
        "tokenizer": str(tokenizer),
        "max_retries": "1",
    }
    ran = client_runner.run(
        [
            *(str(python_clients() / "lm_eval"), "run", "--model", "local-completions"),
            *("--model_args", ",".join(f"{name}={value}" for name, value in arguments.items())),
            *("--tasks", "capitals", "--include_path", ".", "--log_samples", "--output_path", str(output)),
        ],
        CLIENTS / "harness",
    )
    assert ran.returncode == 0, ran.stderr
    (samples,), (results,) = output.glob("*/samples_*.jsonl"), output.glob("*/results_*.json")
    answers = [json.loads(line) for line in samples.read_text().splitlines()]
    likelihoods = {answer["doc"]["country"]: answer["filtered_resps"] for answer in answers}
    return likelihoods, json.loads(results.read_text())["results"]["capitals"]


@pytest.fixture(scope="module")
def both(
    client_runner: ClientRunner, smollm2: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any]:
    """Results through the gateway, and from vLLM directly."""
    folder = tmp_path_factory.mktemp("harness")
    with vllm_server(client_runner.stack.model, smollm2, folder / "vllm.log") as address:
        ours = evaluate(client_runner, client_runner.stack.base_url, smollm2, folder / "ours")
        return ours, evaluate(client_runner, address(), smollm2, folder / "vllm")


@pytest.mark.criterion("1.2")
def test_log_likelihoods_equal_those_of_vllm_to_the_last_digit(both: tuple[Any, Any]) -> None:
    (ours, _), (theirs, _) = both
    assert ours == theirs
    values = [float(value) for options in ours.values() for value, _ in options]
    assert len(values) == len(set(values)) == QUESTIONS * OPTIONS
    assert max(values) < 0


@pytest.mark.criterion("1.2")
def test_scores_equal_those_of_vllm_and_show_that_the_model_knows_capitals(both: tuple[Any, Any]) -> None:
    (_, ours), (_, theirs) = both
    assert ours == theirs
    assert ours["acc,none"] >= 0.7
    assert ours["acc_norm,none"] >= 0.7
