"""Registration and deletion of adapters. Each is audited, and gateways and workers are notified of it."""

from __future__ import annotations

import logging
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _

from inference_worker.registry import archives
from inference_worker.registry.journal import change_record
from inference_worker.registry.models import (
    Adapter,
    ModelAlias,
    ModelGrant,
    ServedModel,
    Visibility,
    validate_model_name,
)
from inference_worker.registry.services import lock_names
from inference_worker.transport import changes

logger = logging.getLogger("cyllm.registry.adapters")

_ARCHIVES_LOCK = 0x61646170  # first key of the archives' advisory locks


class ArchiveMissingError(Exception):
    """The archive of an adapter is not in the storage, or was deleted during the registration."""


class NameTakenError(ValidationError):
    """Another model has the name, or has it as an alias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAdapter:
    """An adapter whose archive is stored. ``base``: name of its base model. ``tenant_id``: its owner."""

    name: str
    base: str
    sha256: str
    rank: int
    size_bytes: int
    tenant_id: uuid.UUID
    owned_by: str
    job_id: str = ""


def _audited_fields(adapter: Adapter) -> dict[str, object]:
    return {
        "name": adapter.model.name,
        "base": adapter.base.name,
        "sha256": adapter.sha256,
        "rank": adapter.rank,
        "size_bytes": adapter.size_bytes,
        "job_id": adapter.job_id,
    }


@transaction.atomic
def adapter_register(new: NewAdapter, *, actor: str) -> Adapter:
    """Make an adapter a model of its tenant. Idempotent for the same weights and tenant.

    Raises NameTakenError, ValidationError if the name is malformed, ServedModel.DoesNotExist if the base
    model is unknown, ArchiveMissingError.
    """
    validate_model_name(new.name)
    _lock_archive(new.sha256)  # before the names, which must not wait for the storage
    is_stored = archives.archive_exists(new.sha256)
    lock_names()
    base = ServedModel.objects.get(name=new.base)
    same = Adapter.objects.select_related("model", "base").filter(
        model__name=new.name, base=base, sha256=new.sha256, tenant_id=new.tenant_id
    )
    if (existing := same.first()) is not None:
        return existing
    if (
        ServedModel.objects.filter(name=new.name).exists()
        or ModelAlias.objects.filter(alias=new.name).exists()
    ):
        raise NameTakenError(_("The name %(name)s is taken.") % {"name": new.name})
    if not is_stored:
        raise ArchiveMissingError(new.sha256)
    return _create(new, base, actor)


def _create(new: NewAdapter, base: ServedModel, actor: str) -> Adapter:
    model = ServedModel(
        name=new.name,
        source=f"{new.base} + {new.job_id}" if new.job_id else new.base,
        owned_by=new.owned_by,
        visibility=Visibility.RESTRICTED,
    )
    model.full_clean()
    model.save()
    ModelGrant.objects.create(model=model, tenant_id=new.tenant_id)
    adapter = Adapter(
        model=model,
        base=base,
        sha256=new.sha256,
        rank=new.rank,
        size_bytes=new.size_bytes,
        tenant_id=new.tenant_id,
        job_id=new.job_id,
    )
    adapter.full_clean()
    adapter.save()
    change_record(
        actor=actor,
        action="adapter.create",
        model_id=model.pk,
        model_name=model.name,
        tenant_id=new.tenant_id,
        after=_audited_fields(adapter),
    )
    return adapter


def adapter_delete(
    *,
    name: str,
    actor: str,
    tenant_id: uuid.UUID | str | None = None,
    discard: Callable[[str], object] | None = None,
) -> bool:
    """Delete an adapter and its model, of this tenant if one is given; False if there is none.

    Unless another adapter has the same weights, ``discard`` is called with the digest of its archive after
    the commit, ``archive_discard`` if None.
    """
    with transaction.atomic():
        lock_names()
        rows = Adapter.objects.select_related("model", "base").filter(model__name=name)
        adapter = (rows if tenant_id is None else rows.filter(tenant_id=tenant_id)).first()
        if adapter is None:
            return False
        change_record(
            actor=actor,
            action="adapter.delete",
            model_id=adapter.model_id,
            model_name=name,
            tenant_id=adapter.tenant_id,
            before=_audited_fields(adapter),
        )
        adapter.model.delete()
        if not Adapter.objects.filter(sha256=adapter.sha256).exists():
            removal = changes.adapter_removed(adapter.sha256)
            transaction.on_commit(partial(changes.publish, settings.CYLLM.redis_url, removal))
            transaction.on_commit(partial(discard or archive_discard, adapter.sha256))
    return True


def archive_discard(sha256: str) -> None:
    """Delete an archive unless an adapter uses it. If that fails, the sweep deletes it later."""
    try:
        archive_delete_if_unused(sha256)
    except Exception as error:
        logger.warning("the archive %s is not deleted yet: %s", sha256, type(error).__name__)


@transaction.atomic
def archive_delete_if_unused(sha256: str) -> bool:
    """Delete an archive unless an adapter uses it; return whether it was unused.

    Raises OSError, and errors of the storage's library.
    """
    _lock_archive(sha256)
    if Adapter.objects.filter(sha256=sha256).exists():
        return False
    archives.archive_delete(sha256)
    return True


def _lock_archive(sha256: str) -> None:
    """Let no other transaction register an adapter with this archive, or delete it, until this one ends."""
    key = zlib.crc32(sha256.encode()) - 2**31  # a signed integer of 32 bits
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_ARCHIVES_LOCK, key])
