"""Reservations of uploads. After a crash, every content in the storage still has a row that refers to it.

An upload reserves its bytes in a ``PendingObject``, writes the content to the storage, then replaces the
reservation by the file, see ``creation``. A deletion replaces the file by a ``PendingObject``. The sweep
deletes the objects of rows that are left over.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models.functions import Now

from tenants.files.models import PendingObject
from tenants.files.selectors import tenant_bytes
from tenants.files.storage.incoming import IncomingContent, IncomingFile
from tenants.models import Tenant

FOLDER = "files"  # in the storage
LEASE_S = 300.0
LEASE = dt.timedelta(seconds=LEASE_S)


class FileQuotaError(Exception):
    """The tenant's files would exceed ``limit`` bytes. ``is_permanent``: the file does so by itself."""

    def __init__(self, limit: int, *, is_permanent: bool = False) -> None:
        subject = "the file alone" if is_permanent else "the files of the tenant"
        super().__init__(f"{subject} would exceed the limit of {limit} bytes for all files of the tenant")
        self.limit, self.is_permanent = limit, is_permanent


class UploadLostError(Exception):
    """The reservation of an upload has expired and was swept."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The reservation of an upload. ``file_id``: the id that the file will have.

    ``reserved_bytes``: those reserved when it began.
    """

    file_id: str
    tenant_id: uuid.UUID
    storage_name: str
    reserved_bytes: int


@transaction.atomic
def upload_begin(
    *,
    tenant_id: uuid.UUID,
    needed_bytes: int,
    wanted_bytes: int,
    limit: int,
    lease: dt.timedelta = LEASE,
) -> Upload:
    """Reserve ``wanted_bytes`` for an upload, or what is free, but at least ``needed_bytes``.

    ``upload_renew`` keeps the reservation beyond the lease. Raises FileQuotaError, Tenant.DoesNotExist.
    """
    reserved_bytes = _available_bytes(tenant_id, needed_bytes, wanted_bytes, limit)
    file_id = f"file-{uuid.uuid4().hex}"
    upload = Upload(file_id, tenant_id, f"{FOLDER}/{tenant_id}/{file_id}", reserved_bytes)
    PendingObject.objects.create(
        storage_name=upload.storage_name,
        tenant_id=tenant_id,
        reserved_bytes=reserved_bytes,
        alive_until=Now() + lease,
    )
    return upload


@transaction.atomic
def upload_extend(*, upload: Upload, needed_bytes: int, wanted_bytes: int, limit: int) -> int:
    """Reserve and return further bytes, like ``upload_begin``. Raises FileQuotaError, UploadLostError."""
    additional_bytes = _available_bytes(upload.tenant_id, needed_bytes, wanted_bytes, limit)
    pending = PendingObject.objects.select_for_update().filter(pk=upload.storage_name).first()
    if pending is None:
        raise UploadLostError
    pending.reserved_bytes += additional_bytes
    pending.save(update_fields=["reserved_bytes"])
    return additional_bytes


def _available_bytes(tenant_id: uuid.UUID, needed_bytes: int, wanted_bytes: int, limit: int) -> int:
    # Uploads of one tenant reserve one after the other; rows that refer to the tenant can still be inserted.
    Tenant.objects.select_for_update(no_key=True).get(id=tenant_id)
    free_bytes = limit - tenant_bytes(tenant_id)
    if free_bytes < needed_bytes:
        raise FileQuotaError(limit, is_permanent=needed_bytes > limit)
    return min(free_bytes, max(wanted_bytes, needed_bytes))


def upload_renew(upload: Upload) -> bool:
    """Renew the reservation for another ``LEASE_S``. Return False if the sweep has removed it."""
    return bool(PendingObject.objects.filter(pk=upload.storage_name).update(alive_until=Now() + LEASE))


def upload_write(upload: Upload, incoming: IncomingFile) -> None:
    """Write a complete incoming file to the storage. Raises OSError, and errors of the storage's library."""
    with IncomingContent(incoming) as content:
        name = default_storage.save(upload.storage_name, content)
    if name != upload.storage_name:
        default_storage.delete(name)
        raise OSError(f"the storage already has an object {upload.storage_name}")
