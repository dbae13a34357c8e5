"""A real worker process in front of a scripted engine, for pages that call models."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import WorkerState
from tests.stacks import wait_until

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def worker(
    engine: str, redis_client: redis.Redis, worker_id: str = "worker-1"
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of the model "tiny" until it is ready; it is killed on exit."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CYLLM_WORKER")},
        "CYLLM_WORKER_ID": worker_id,
        "CYLLM_WORKER_MODEL": "tiny",
        "CYLLM_WORKER_ENGINE": "remote",
        "CYLLM_WORKER_ENGINE_URL": engine,
    }
    process = subprocess.Popen([sys.executable, "-m", "inference_worker.runtime"], cwd=ROOT, env=environment)
    try:
        wait_until(lambda: _is_ready(redis_client, worker_id), "the worker is ready")
        yield process
    finally:
        process.kill()
        process.wait()


def _is_ready(client: redis.Redis, worker_id: str) -> bool:
    value = client.get(names.worker_key(worker_id))
    return isinstance(value, bytes) and codec.decode_heartbeat(value).state is WorkerState.READY
