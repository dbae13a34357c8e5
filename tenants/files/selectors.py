"""Queries of one tenant's files. An expired file is visible only to the jobs that use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO
from uuid import UUID

from django.conf import settings
from django.core.files.storage import default_storage
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from tenants.files.models import PendingObject, StoredFile
from tenants.models import Tenant


def files(*, tenant_id: UUID | str | None = None) -> QuerySet[StoredFile]:
    """Return the files of a tenant, or of all tenants, newest first."""
    rows = StoredFile.objects.select_related("tenant").filter(
        Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    )
    return rows if tenant_id is None else rows.filter(tenant_id=tenant_id)


def file_find(*, file_id: str, tenant_id: UUID | str) -> StoredFile | None:
    """Return a tenant's file, None if it does not exist."""
    return files(tenant_id=tenant_id).filter(id=file_id).first()


def file_of_open_job(*, file_id: str, tenant_id: UUID | str) -> StoredFile | None:
    """Return a file that an open job uses, even if it has expired; None if it does not exist."""
    return StoredFile.objects.filter(tenant_id=tenant_id, id=file_id).first()


def file_find_for_use(*, file_id: str, tenant_id: UUID | str) -> StoredFile | None:
    """Return a tenant's file, which can't be deleted before the caller's transaction ends.

    By then the transaction must have recorded the use where the function in ``FILE_USES`` finds it.
    """
    return files(tenant_id=tenant_id).select_for_update(of=("self",)).filter(id=file_id).first()


def files_page(
    *, tenant_id: UUID | str, purpose: str | None, after: str | None, is_ascending: bool, limit: int
) -> Sequence[StoredFile]:
    """Return up to ``limit`` files after the file ``after``, without their reports.

    Raises StoredFile.DoesNotExist if that file does not exist.
    """
    rows = files(tenant_id=tenant_id).defer("dataset_report")
    if after is not None:
        # Deleted in the middle of a listing, a file can't be a starting point any more.
        last = rows.get(id=after)
        comparison = "gt" if is_ascending else "lt"
        rows = rows.filter(
            Q(**{f"created_at__{comparison}": last.created_at})
            | Q(**{"created_at": last.created_at, f"id__{comparison}": last.id})
        )
    if purpose is not None:
        rows = rows.filter(purpose=purpose)
    order = ("created_at", "id") if is_ascending else ("-created_at", "-id")
    return list(rows.order_by(*order)[:limit])


def tenant_bytes(tenant_id: UUID | str) -> int:
    """Return the bytes of a tenant's files, and those reserved by its running uploads."""
    files = StoredFile.objects.filter(tenant_id=tenant_id)
    uploads = PendingObject.objects.filter(tenant_id=tenant_id)
    file_bytes = files.aggregate(total=Sum("size_bytes"))["total"] or 0
    return int(file_bytes + (uploads.aggregate(total=Sum("reserved_bytes"))["total"] or 0))


def stored_limit(tenant_id: UUID | str) -> int:
    """Return the bytes that the tenant's files may have: its own limit, or that of the settings."""
    own_limit = Tenant.objects.filter(id=tenant_id).values_list("stored_bytes", flat=True).first()
    return int(settings.CYLLM.tenant_file_bytes if own_limit is None else own_limit)


def largest_file_bytes(tenant_id: UUID | str) -> int:
    """Return the bytes that a single file of the tenant may have, if it has no others."""
    return min(int(settings.CYLLM.max_file_bytes), stored_limit(tenant_id))


def file_open(file: StoredFile) -> IO[bytes]:
    """Open the content for reading. Raises FileNotFoundError, and other errors of the storage."""
    content: IO[bytes] = default_storage.open(file.storage_name, "rb")
    return content
