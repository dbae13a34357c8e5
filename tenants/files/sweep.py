"""Deletion of expired files, of the objects of dead uploads, and of objects that nothing refers to."""

from __future__ import annotations

import datetime as dt
import logging

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from tenants.files.deletion import FileInUseError, file_delete
from tenants.files.models import PendingObject, StoredFile
from tenants.files.uploads import FOLDER

logger = logging.getLogger("cyllm.files")

RETRY_AFTER = dt.timedelta(minutes=5)


def files_expire() -> int:
    """Delete expired files, apart from those that jobs use. Returns their number."""
    expired_files = StoredFile.objects.filter(expires_at__lte=timezone.now()).order_by("expires_at")
    count = 0
    for file_id in list(expired_files.values_list("id", flat=True)):
        try:
            count += file_delete(file_id=file_id, actor="system:file-expiry", action="file.expire")
        except FileInUseError:
            continue
    return count


def objects_sweep() -> int:
    """Delete the objects of dead uploads, and those whose deletion failed. Returns their number."""
    count = 0
    while True:
        with transaction.atomic():
            rows = PendingObject.objects.select_for_update(skip_locked=True).order_by("alive_until")
            pending = rows.filter(alive_until__lt=Now()).first()
            if pending is None:
                return count
            try:
                default_storage.delete(pending.storage_name)
            except Exception as error:  # of the storage's library
                logger.warning("%s can't be deleted yet: %s", pending.storage_name, type(error).__name__)
                PendingObject.objects.filter(pk=pending.pk).update(alive_until=Now() + RETRY_AFTER)
            else:
                pending.delete()
                count += 1


def orphans_delete(*, min_age: dt.timedelta = dt.timedelta(days=1)) -> int:
    """Delete objects of files that no row refers to, as after the restore of an older database.

    Returns their number. Lists the whole folder of files in the storage, so it is not part of the sweep.
    """
    count = 0
    newest = timezone.now() - min_age
    for tenant_folder in _listing(FOLDER)[0]:
        folder = f"{FOLDER}/{tenant_folder}"
        for name in (f"{folder}/{object_name}" for object_name in _listing(folder)[1]):
            is_known = any(
                model.objects.filter(storage_name=name).exists() for model in (StoredFile, PendingObject)
            )
            if not is_known and default_storage.get_modified_time(name) < newest:
                default_storage.delete(name)
                count += 1
    return count


def _listing(folder: str) -> tuple[list[str], list[str]]:
    try:
        return default_storage.listdir(folder)
    except FileNotFoundError:  # nothing has been stored yet
        return [], []
