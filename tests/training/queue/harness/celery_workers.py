"""Training workers for tests: Celery processes as the launcher starts them, with the scripted trainer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.db import connection

from deploy.local.programs import training_options

ROOT = Path(__file__).resolve().parents[4]
LEASE_S = 3.0


@dataclass
class TrainingWorker:
    """A running worker and its log."""

    process: subprocess.Popen[bytes]
    log: Path
    log_start: int = 0

    @property
    def output(self) -> str:
        """The log so far, in a test that shares the worker since its start."""
        return self.log.read_bytes()[self.log_start :].decode(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def is_ready(self) -> bool:
        """Return whether it receives messages."""
        assert self.process.poll() is None, self.output
        return b" ready." in self.log.read_bytes()


def worker_environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker that uses the test's database."""
    url = urlsplit(os.environ["CYLLM_DATABASE_URL"])
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "cyllm_site.settings.test",
        "CYLLM_DATABASE_URL": url._replace(path=f"/{connection.settings_dict['NAME']}").geturl(),
        "CYLLM_TRAINING_MODELS": f"base={folder}",
        "CYLLM_TRAINING_DIR": str(folder / "training"),
        "CYLLM_TRAINING_COMMAND": f"{sys.executable} -m tests.training.queue.harness.scripted_trainer",
        "CYLLM_TRAINING_LEASE_S": str(LEASE_S),
        "CYLLM_LOG_LEVEL": "DEBUG",
        **settings,
    }


@contextmanager
def training_worker(
    folder: Path, name: str = "one", settings: Mapping[str, str] | None = None
) -> Iterator[TrainingWorker]:
    """Run a training worker, killed on exit if it is still there."""
    log = folder / f"worker-{name}.log"
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tests.training.queue.harness.celery_app",
        "worker",
        *training_options(name),
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=worker_environment(folder, settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield TrainingWorker(process, log)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class SharedWorkers:
    """Workers of several tests with one folder: the latest one lives on until a test ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._count = 0
        self._latest: TrainingWorker | None = None

    def live(self) -> TrainingWorker:
        """Return the latest worker, or a new one if that has ended."""
        if self._latest is None or self._latest.process.poll() is not None:
            self._count += 1
            self._latest = self._stack.enter_context(training_worker(self.folder, str(self._count)))
        self._latest.log_start = self._latest.log.stat().st_size
        return self._latest

    def end(self) -> None:
        """Kill all workers, which have no job any more."""
        if self._latest is not None:
            self._latest.process.kill()
            self._latest.process.wait()
        self._stack.close()
