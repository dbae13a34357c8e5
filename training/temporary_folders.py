"""Temporary folders for copies of tenants' files, which are deleted even if their process is killed."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK_FILE = "lock"
MIN_AGE_S = 60.0  # a folder is created a moment before it is locked


@contextmanager
def temporary_folder(root: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder in ``root``, for the platform's account only, and delete it afterwards.

    The process holds a lock in it, which ends with the process. Folders in ``root`` that no process locks any
    more are deleted first. Raises OSError.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    abandoned_folders_delete(root, prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=root) as name:
        folder = Path(name)
        with (folder / LOCK_FILE).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder


def abandoned_folders_delete(root: Path, prefix: str) -> None:
    """Delete the folders with the prefix whose processes were killed."""
    for folder in root.glob(f"{prefix}*"):
        # Another process may delete it meanwhile.
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > MIN_AGE_S and not _is_locked(folder):
                shutil.rmtree(folder)


def _is_locked(folder: Path) -> bool:
    try:
        with (folder / LOCK_FILE).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
