"""The lock of one checkout: one local stack at a time, and no lock left after a kill."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

ATTEMPTS = 5
PAUSE_S = 0.05


class AlreadyRunningError(Exception):
    """Another process holds the lock; ``pid`` is its process id, or None if it has not said so yet."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"held by process {pid or 'unknown'}")
        self.pid = pid


def _written_pid(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _acquire(descriptor: int) -> bool:
    for _ in range(ATTEMPTS):  # a look by lock_holder holds it for a moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_S)
        else:
            return True
    return False


class Lock:
    """Held by the kernel for this process, so it goes with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Lock:
        """Take the lock. Raises AlreadyRunningError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _acquire(descriptor):
            holder = _written_pid(os.read(descriptor, 32).decode())
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
    """The process that holds the lock now, or None."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written_pid(os.read(descriptor, 32).decode())
    finally:
        os.close(descriptor)
    return None
