"""A tiny model as an embedding model, in a vLLM worker of its own beside a running stack."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stacks import ROOT, RunningStack, wait_until

MODEL, WORKER = "embedder", "embedder-1"
CONTEXT = 256
SHORT = 32  # besides its own length, vectors may have this one


@contextmanager
def embedding_worker(stack: RunningStack, folder: Path) -> Iterator[str]:
    """The name under which it is served, listed and ready."""
    if not any(MODEL in line for line in stack.manage("models", "list").splitlines()):
        stack.manage("models", "add", MODEL, "--source", "tests")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CYLLM_")},
        "CYLLM_REDIS_URL": stack.environment["CYLLM_REDIS_URL"],
        "CYLLM_WORKER_ID": WORKER,
        "CYLLM_WORKER_MODEL": MODEL,
        "CYLLM_WORKER_MODEL_PATH": str(folder),
        "CYLLM_WORKER_ENGINE_ARGS": "--runner pooling --convert embed "
        f"--hf-overrides '{{\"matryoshka_dimensions\": [{SHORT}]}}'",
        "CYLLM_WORKER_MAX_MODEL_LEN": str(CONTEXT),
        "CYLLM_WORKER_KV_CACHE_GIB": "0.25",
    }
    with (stack.state_dir / "logs" / f"{WORKER}.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "inference_worker.runtime"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: _listed(stack, worker), 180, f"{WORKER} is ready; {log.name}")
        yield MODEL
    finally:
        worker.terminate()
        worker.wait(30)


def _listed(stack: RunningStack, worker: subprocess.Popen[bytes]) -> bool:
    assert worker.poll() is None, f"{WORKER} ended with {worker.returncode}"
    with stack.client() as client:
        return any(model["id"] == MODEL for model in client.get("/v1/models").json()["data"])
