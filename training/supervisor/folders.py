"""The folder of a job on the training workers' disk: copies of its files, checkpoints, the result."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

TRAINING_FILE, VALIDATION_FILE = "training.jsonl", "validation.jsonl"
SPEC_FILE, LOCK_FILE = "spec.json", "lock"
VALIDATION_PREFIX = "cyllm-validation-"
LOCK_POLL_S = 0.2
_JOB_ID = re.compile(r"ftjob-[A-Za-z0-9]+", re.ASCII)


class FolderBusyError(Exception):
    """Processes of an earlier attempt still use the folder."""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Paths of one job. ``path`` is the trainer's ``work_dir``."""

    path: Path

    @property
    def training_file(self) -> Path:
        """The copy of the training file."""
        return self.path / TRAINING_FILE

    @property
    def validation_file(self) -> Path:
        """The copy of the validation file."""
        return self.path / VALIDATION_FILE

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def spec(self) -> Path:
        """The trainer's specification."""
        return self.path / SPEC_FILE

    @contextmanager
    def lock(self, timeout_s: float) -> Iterator[int]:
        """Hold the folder's lock. Yields its descriptor, to be inherited by the trainer.

        The kernel frees the lock when the last process with the descriptor has ended, so no two attempts
        on one host, or on a file system with POSIX locks, ever write to the folder. Raises FolderBusyError.
        """
        descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _acquire(descriptor, time.monotonic() + timeout_s)
            yield descriptor
        finally:
            os.close(descriptor)


def training_root() -> Path:
    """Return the folder that holds those of the jobs."""
    root: Path = settings.CYLLM.training_dir or settings.CYLLM.state_dir / "training"
    return root.absolute()


def job_folder(job_id: str) -> JobFolder:
    """Return a job's folder; create it for the platform's account only. Raises OSError."""
    path = training_root() / job_id
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return JobFolder(path)


def job_folder_remove(job_id: str) -> bool:
    """Remove a job's folder; return whether it existed. Raises OSError, FolderBusyError."""
    folder = JobFolder(training_root() / job_id)
    if not folder.path.is_dir():
        return False
    with folder.lock(0.0):
        shutil.rmtree(folder.path)
    return True


def job_folder_names() -> list[str]:
    """Return the ids of the jobs that have a folder here. Other folders don't belong to the platform."""
    root = training_root()
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if _JOB_ID.fullmatch(path.name) and path.is_dir())


def folder_changed_at(job_id: str) -> float:
    """Return the Unix time of the folder's last change; the current time if there is no folder."""
    try:
        return (training_root() / job_id).stat().st_mtime
    except OSError:
        return time.time()


def _acquire(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise FolderBusyError("processes of an earlier attempt have not ended") from None
            time.sleep(LOCK_POLL_S)
        else:
            return
