"""A lock that allows one local stack per state folder."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

ATTEMPTS = 5
PAUSE_S = 0.05


class AlreadyRunningError(Exception):
    """Another process holds the lock; ``pid`` is None until that process has written its id."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"lock held by process {pid or 'unknown'}")
        self.pid = pid


class Lock:
    """An advisory file lock. The kernel releases it when the process ends, even after SIGKILL."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Lock:
        """Acquire the lock. Raises AlreadyRunningError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _acquire(descriptor):
            holder = _parse_pid(os.read(descriptor, 32).decode())
            os.close(descriptor)
            raise AlreadyRunningError(holder)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def lock_holder(path: Path) -> int | None:
    """Return the id of the process that holds the lock, or None."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _parse_pid(os.read(descriptor, 32).decode())
    finally:
        os.close(descriptor)
    return None


def _acquire(descriptor: int) -> bool:
    for _ in range(ATTEMPTS):  # lock_holder takes the lock for a moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_S)
        else:
            return True
    return False


def _parse_pid(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None
