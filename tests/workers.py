"""Additional inference workers for a running stack."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.stacks import ROOT, RunningStack


def worker_process(
    stack: RunningStack, folder: Path, worker_id: str, settings: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a worker with these settings, without waiting for it. Its log is written to ``folder``."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CYLLM_")},
        "CYLLM_REDIS_URL": stack.environment["CYLLM_REDIS_URL"],
        "CYLLM_WORKER_ID": worker_id,
        **settings,
    }
    with (folder / f"{worker_id}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "inference_worker.runtime"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )


@dataclass
class ExtraWorker:
    """An additional worker."""

    process: subprocess.Popen[bytes]
    worker_id: str


@contextmanager
def extra_worker(
    stack: RunningStack, folder: Path, worker_id: str, settings: Mapping[str, str]
) -> Iterator[ExtraWorker]:
    """Run an additional worker, without waiting until it is ready; it is killed on exit."""
    process = worker_process(stack, folder, worker_id, settings)
    try:
        yield ExtraWorker(process, worker_id)
    finally:
        process.kill()  # the engine ends with its worker
        process.wait()
