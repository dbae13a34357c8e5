"""A tiny embedding model in an additional vLLM worker of a running stack."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import end_process
from tests.stacks import RunningStack, wait_until
from tests.workers import worker_process

MODEL, WORKER = "embedder", "embedder-1"
CONTEXT = 256
SHORT = 32  # the other supported length of its vectors


@contextmanager
def embedding_worker(stack: RunningStack, folder: Path) -> Iterator[str]:
    """Run the worker; yields the name of the model once it is listed."""
    if not any(MODEL in line for line in stack.manage("models", "list").splitlines()):
        stack.manage("models", "add", MODEL, "--source", "tests")
    settings = {
        "CYLLM_WORKER_MODEL": MODEL,
        "CYLLM_WORKER_MODEL_PATH": str(folder),
        "CYLLM_WORKER_ENGINE_ARGS": "--runner pooling --convert embed "
        f"--hf-overrides '{{\"matryoshka_dimensions\": [{SHORT}]}}'",
        "CYLLM_WORKER_MAX_MODEL_LEN": str(CONTEXT),
        "CYLLM_WORKER_KV_CACHE_GIB": "0.25",
    }
    worker = worker_process(stack, stack.state_dir / "logs", WORKER, settings)
    try:
        wait_until(
            lambda: _is_listed(stack, worker),
            f"{WORKER} is ready; its log is in {stack.state_dir}",
            timeout_s=180,
        )
        yield MODEL
    finally:
        end_process(worker)


def _is_listed(stack: RunningStack, worker: subprocess.Popen[bytes]) -> bool:
    assert worker.poll() is None, f"{WORKER} ended with {worker.returncode}"
    with stack.client() as client:
        return any(model["id"] == MODEL for model in client.get("/v1/models").json()["data"])
