"""The archive of an adapter: a tar file of two files saved by peft, with one encoding for the same contents.

Its SHA-256 is the digest under which it is stored and loaded. An archive with anything else in it, such as
other members, links, or data after the end, is refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from pathlib import Path
from typing import BinaryIO, Protocol

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
MEMBER_NAMES = (CONFIG_NAME, WEIGHTS_NAME)
MAX_CONFIG_BYTES = 2**20
STORAGE_FOLDER = "artifacts"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_CHUNK = 2**20


class ArchiveError(ValueError):
    """The archive or folder is not that of an adapter. The text names the fault."""


class _Writer(Protocol):
    def write(self, data: bytes, /) -> object: ...


class DigestWriter:
    """Counts and hashes what it passes on to ``target``."""

    def __init__(self, target: _Writer | None = None) -> None:
        self.size = 0
        self._hash = hashlib.sha256()
        self._target = target

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        self._hash.update(data)
        if self._target is not None:
            self._target.write(data)

    def hexdigest(self) -> str:
        """Return the SHA-256 of everything written."""
        return self._hash.hexdigest()


def is_digest(text: str) -> bool:
    """Return whether a text is a SHA-256 in lower-case hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def storage_name(sha256: str) -> str:
    """Return the archive's name in the platform's storage."""
    return f"{STORAGE_FOLDER}/{sha256}"


def pack(folder: Path, target: _Writer) -> None:
    """Write the archive of a folder. Raises ArchiveError, OSError."""
    for name in MEMBER_NAMES:
        file = folder / name
        if not file.is_file():
            raise ArchiveError(f"{name} is missing")
        with file.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            target.write(_header(name, size))
            _copy(source, target, size, name)
            target.write(bytes(-size % _BLOCK))
    target.write(_END)


def folder_digest(folder: Path) -> str:
    """Return the digest of the archive that ``pack`` would write. Raises ArchiveError, OSError."""
    writer = DigestWriter()
    pack(folder, writer)
    return writer.hexdigest()


def unpack(archive: BinaryIO, folder: Path) -> None:
    """Write the two files into an existing folder. Raises ArchiveError, OSError."""
    for name in MEMBER_NAMES:
        size = _size_in_header(archive.read(_BLOCK), name)
        with (folder / name).open("xb") as target:
            _copy(archive, target, size, name)
        padding = archive.read(-size % _BLOCK)
        if len(padding) != -size % _BLOCK or any(padding):
            raise ArchiveError(f"the data after {name} is malformed")
    if archive.read(len(_END) + 1) != _END:
        raise ArchiveError(f"there is data after {MEMBER_NAMES[-1]}")


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def _size_in_header(block: bytes, name: str) -> int:
    """Return the size of the member ``name``. Raises ArchiveError unless the header is that of ``pack``."""
    try:
        size = tarfile.TarInfo.frombuf(block, "ascii", "strict").size
        is_expected = size >= 0 and block == _header(name, size)
    except (tarfile.HeaderError, ValueError):
        is_expected = False
    if not is_expected:
        raise ArchiveError(f"expected the file {name}")
    if name == CONFIG_NAME and size > MAX_CONFIG_BYTES:
        raise ArchiveError(f"{name} has {size} bytes; the maximum is {MAX_CONFIG_BYTES}")
    return size


def _copy(source: BinaryIO, target: _Writer, size: int, name: str) -> None:
    remaining = size
    while remaining:
        chunk = source.read(min(_CHUNK, remaining))
        if not chunk:
            raise ArchiveError(f"{name} is truncated")
        target.write(chunk)
        remaining -= len(chunk)
