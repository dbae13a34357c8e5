"""Incoming files: written to local disk and hashed as they arrive, deleted unless a storage takes them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from django.core.files.base import File

if TYPE_CHECKING:  # only the stubs' version is generic
    BytesFile = File[bytes]
else:
    BytesFile = File

PREFIX = "incoming-"
MIN_AGE_S = 60.0  # a file is created a moment before it is locked
BUFFER_BYTES = 1024 * 1024


class FileTooLargeError(Exception):
    """The file exceeds ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the file exceeds {limit} bytes")
        self.limit = limit


class IncomingFile:
    """A temporary file with the size and SHA-256 of its content.

    The process holds a lock on it, which ends with the process: the sweep deletes unlocked files.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=folder)
        self.path = Path(name)
        self.size_bytes = 0
        self._limit = limit
        self._hash = hashlib.sha256()
        self._file = os.fdopen(descriptor, "wb", BUFFER_BYTES)
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    @property
    def sha256(self) -> str:
        """The digest of the content so far, in hex."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Append data. Raises FileTooLargeError, OSError."""
        if self.size_bytes + len(data) > self._limit:
            raise FileTooLargeError(self._limit)
        self._file.write(data)
        self._hash.update(data)
        self.size_bytes += len(data)

    def complete(self) -> None:
        """Write everything to the disk. Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def discard(self) -> None:
        """Close and delete the file, unless a storage has moved it. Idempotent."""
        with contextlib.suppress(OSError):  # the disk may be full; the data is not needed
            self._file.close()
        self.path.unlink(missing_ok=True)


class IncomingContent(BytesFile):
    """The content of a complete incoming file for a storage; a folder moves it instead of copying it."""

    def __init__(self, incoming: IncomingFile) -> None:
        self._path = incoming.path
        super().__init__(incoming.path.open("rb"), name=incoming.path.name)

    def temporary_file_path(self) -> Any:
        """Return the path. Django's folder storage moves a file with this method instead of copying it."""
        return str(self._path)


def incoming_sweep(folder: Path) -> int:
    """Delete the files of processes that died. Returns their number."""
    count = 0
    for path in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            count += _delete_if_abandoned(path)
    return count


def _delete_if_abandoned(path: Path) -> bool:
    with path.open("rb") as file:
        if time.time() - os.fstat(file.fileno()).st_mtime < MIN_AGE_S:
            return False
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises OSError if a process holds it
        path.unlink()
        return True
