"""Creation of files from written uploads, or from open files."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol, cast

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from tenants.files.audit import file_audit, file_values
from tenants.files.deletion import object_delete
from tenants.files.filenames import clean_filename
from tenants.files.models import PendingObject, Purpose, StoredFile
from tenants.files.selectors import stored_limit
from tenants.files.storage.incoming import BUFFER_BYTES, IncomingFile
from tenants.files.uploads import Upload, UploadLostError, upload_begin, upload_write

LONG_LEASE = dt.timedelta(hours=6)  # for writers that don't renew it


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """Metadata of a file. ``lifetime_s``: seconds until it expires; None keeps it until it is deleted."""

    filename: str
    purpose: Purpose
    lifetime_s: int | None = None
    dataset_report: dict[str, Any] | None = None


class DigestedContent(Protocol):
    """Size and SHA-256 of a complete content."""

    @property
    def size_bytes(self) -> int:
        """The size."""

    @property
    def sha256(self) -> str:
        """The digest in hex."""


@dataclass(frozen=True, slots=True)
class StoredContent:
    """Stored content that isn't a file yet. The sweep deletes it unless ``file_create`` follows in time."""

    upload: Upload
    new: NewFile
    size_bytes: int
    sha256: str


@transaction.atomic
def file_create(*, upload: Upload, incoming: DigestedContent, new: NewFile, actor: str) -> StoredFile:
    """Replace the reservation of a written upload by its file. Raises UploadLostError."""
    if not PendingObject.objects.filter(pk=upload.storage_name).delete()[0]:
        raise UploadLostError
    now = timezone.now()
    lifetime = None if new.lifetime_s is None else dt.timedelta(seconds=new.lifetime_s)
    file = StoredFile.objects.create(
        id=upload.file_id,
        tenant_id=upload.tenant_id,
        filename=clean_filename(new.filename),
        purpose=new.purpose,
        size_bytes=incoming.size_bytes,
        sha256=incoming.sha256,
        storage_name=upload.storage_name,
        dataset_report=new.dataset_report,
        created_at=now,
        expires_at=None if lifetime is None else now + lifetime,
    )
    file_audit(file, action="file.create", actor=actor, after=file_values(file))
    return file


def file_store(*, tenant_id: uuid.UUID, content: IO[bytes], new: NewFile, actor: str) -> StoredFile:
    """Store the content of an open file as a file of the tenant, within the limits of tenant and settings.

    A training file is checked first. Raises ValueError with its faults, FileQuotaError, FileTooLargeError,
    and errors of the storage; then nothing is left behind.
    """
    stored_content = content_store(tenant_id=tenant_id, content=content, new=new)
    try:
        return file_create(
            upload=stored_content.upload, incoming=stored_content, new=stored_content.new, actor=actor
        )
    except BaseException:
        object_delete(stored_content.upload.storage_name)
        raise


def content_store(*, tenant_id: uuid.UUID, content: IO[bytes], new: NewFile) -> StoredContent:
    """Store the content of a file that does not exist before ``file_create``. Raises like ``file_store``.

    Without ``file_create``, ``object_delete`` or the sweep removes it.
    """
    limits = settings.CYLLM
    with IncomingFile(Path(settings.FILE_INCOMING_DIR), limits.max_file_bytes) as incoming:
        while data := content.read(BUFFER_BYTES):
            incoming.write(data)
        incoming.complete()
        if new.purpose == Purpose.FINE_TUNE and new.dataset_report is None:
            check = cast("Callable[[Path], dict[str, Any]]", import_string(settings.FILE_CHECK))
            new = replace(new, dataset_report=check(incoming.path))
        upload = upload_begin(
            tenant_id=tenant_id,
            needed_bytes=incoming.size_bytes,
            wanted_bytes=incoming.size_bytes,
            limit=stored_limit(tenant_id),
            lease=LONG_LEASE,
        )
        try:
            upload_write(upload, incoming)
        except BaseException:
            object_delete(upload.storage_name)
            raise
        return StoredContent(upload, new, incoming.size_bytes, incoming.sha256)
