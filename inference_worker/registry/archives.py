"""Archives of adapters in the platform's file storage, each under its digest."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import IO, Any

from django.core.files.base import File
from django.core.files.storage import default_storage
from django.core.files.storage.filesystem import FileSystemStorage

from inference_worker.protocol.adapter_archive import STORAGE_FOLDER, is_digest, storage_name

logger = logging.getLogger("cyllm.registry.adapters")


def archive_exists(sha256: str) -> bool:
    """Return whether an archive is stored. Raises OSError, and errors of the storage's library."""
    return default_storage.exists(storage_name(sha256))


def archive_save(sha256: str, archive: IO[bytes]) -> None:
    """Store an archive, once; an incomplete one is replaced.

    Raises OSError, and errors of the storage's library.
    """
    if archive_exists(sha256):
        if default_storage.size(storage_name(sha256)) == File(archive).size:
            return
        logger.warning("the archive %s is incomplete: replaced", sha256)
        archive_delete(sha256)
    name = default_storage.save(storage_name(sha256), File(archive))
    if name != storage_name(sha256):  # another process was faster
        default_storage.delete(name)


def archive_open(sha256: str) -> File[Any]:
    """Open an archive for reading. Raises FileNotFoundError, and errors of the storage's library."""
    return default_storage.open(storage_name(sha256), "rb")


def archive_delete(sha256: str) -> None:
    """Delete an archive if it is stored."""
    default_storage.delete(storage_name(sha256))


def archive_digests() -> Iterable[str]:
    """Return the digests of all archives."""
    try:
        _, files = default_storage.listdir(STORAGE_FOLDER)
    except FileNotFoundError:
        return []
    return [name for name in files if is_digest(name)]


def archive_url(sha256: str) -> str:
    """Return a signed URL of an archive, empty if the storage is a folder."""
    if isinstance(default_storage, FileSystemStorage):
        return ""
    return default_storage.url(storage_name(sha256))
