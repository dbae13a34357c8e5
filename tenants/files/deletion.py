"""Deletion of files, and of objects in the storage."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import cast

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from tenants.files.audit import file_audit, file_values
from tenants.files.models import PendingObject, StoredFile


class FileInUseError(Exception):
    """Jobs that have not ended need the file; ``users`` are their ids."""

    def __init__(self, users: Sequence[str]) -> None:
        super().__init__(f"the file is used by {', '.join(users)}")
        self.users = users


@transaction.atomic
def file_delete(
    *,
    file_id: str,
    actor: str,
    tenant_id: uuid.UUID | str | None = None,
    action: str = "file.delete",
    discard: Callable[[str], object] | None = None,
) -> bool:
    """Delete a file; return False if it, or the tenant's file, does not exist. Raises FileInUseError.

    ``discard`` is called with the storage's name of its content after the commit, ``object_delete`` if None.
    """
    rows = StoredFile.objects.select_for_update().filter(id=file_id)
    file = (rows if tenant_id is None else rows.filter(tenant_id=tenant_id)).first()
    if file is None:
        return False
    if users := file_users(file):
        raise FileInUseError(users)
    storage_name = file.storage_name
    PendingObject.objects.create(storage_name=storage_name, tenant_id=file.tenant_id, alive_until=Now())
    file_audit(file, action=action, actor=actor, before=file_values(file))
    file.delete()
    # The sweep retries, so the client need not know of a failure.
    remove = discard or object_delete
    transaction.on_commit(lambda: remove(storage_name), robust=True)
    return True


def file_users(file: StoredFile) -> Sequence[str]:
    """Return the ids of the jobs that have not ended and need the file."""
    function = cast("Callable[..., Sequence[str]]", import_string(settings.FILE_USES))
    return function(tenant_id=file.tenant_id, file_id=file.id)


def object_delete(storage_name: str) -> bool:
    """Delete a pending object and its row. Returns False without a row, as a file may own the object then."""
    with transaction.atomic():
        pending = PendingObject.objects.select_for_update().filter(pk=storage_name).first()
        if pending is None:
            return False
        default_storage.delete(storage_name)
        pending.delete()
        return True
