"""Archives of adapters: packed and stored under their digest, and swept when nothing refers to them."""

from __future__ import annotations

import datetime as dt
import logging
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from django.core.files.storage import default_storage

from inference_worker.protocol import adapter_archive
from inference_worker.protocol.adapter_archive import DigestWriter
from inference_worker.registry import archives
from inference_worker.registry.adapter_services import archive_delete_if_unused
from training.clock import database_now
from training.publishing.errors import work_folder_errors

logger = logging.getLogger("cyllm.training.archives")

UNUSED_AFTER = dt.timedelta(hours=24)  # longer than a verification


@dataclass(frozen=True, slots=True)
class StoredArchive:
    """A stored archive."""

    sha256: str
    size_bytes: int


def archive_store(folder: Path) -> StoredArchive:
    """Pack a checked adapter and store its archive.

    Raises PublishingError if the work folder has no space for it, ArchiveError, errors of the storage.
    """
    with work_folder_errors(), ExitStack() as stack:
        # On a full disk, closing it fails as well, because its buffer can't be written.
        archive = stack.enter_context(tempfile.TemporaryFile(dir=folder.parent))
        writer = DigestWriter(archive)
        adapter_archive.pack(folder, writer)
        archive.flush()
        stack.pop_all()
    with archive:
        archive.seek(0)
        _delete_if_old(writer.hexdigest())
        archives.archive_save(writer.hexdigest(), archive)
    return StoredArchive(writer.hexdigest(), writer.size)


def _delete_if_old(sha256: str) -> None:
    """Delete an unused archive of an earlier attempt, so that the sweep spares the one stored next."""
    if not archives.archive_exists(sha256):
        return
    stored_at = default_storage.get_modified_time(adapter_archive.storage_name(sha256))
    if stored_at < database_now() - UNUSED_AFTER / 2:
        archive_delete_if_unused(sha256)


def archives_sweep() -> int:
    """Delete old archives of no adapter, and return their number."""
    limit = database_now() - UNUSED_AFTER
    count = 0
    for sha256 in archives.archive_digests():
        try:
            name = adapter_archive.storage_name(sha256)
            if default_storage.get_modified_time(name) < limit and archive_delete_if_unused(sha256):
                count += 1
        except FileNotFoundError:
            continue
    if count:
        logger.info("deleted %d archives that no adapter has", count)
    return count
