"""Deletion of old rows in batches: each is one transaction with its own administrative audit record."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from tenants.audit_trail.changes import admin_audit_record
from tenants.long_tasks import paced_batches

BATCH = 500


@dataclass(frozen=True, slots=True)
class PurgeKind:
    """Rows of one kind in the audit trail. ``unit``: name of their number there."""

    action: str
    object_id: str
    object_name: str
    unit: str


def rows_purge(rows: QuerySet[Any], kind: PurgeKind, *, tenant_id: uuid.UUID | None, actor: str) -> int:
    """Delete rows in their order. Returns their number.

    A purge that is interrupted has recorded exactly what it deleted, and two at once record each row once.
    ``tenant_id``: of the rows, None if they belong to several tenants or to none.
    """
    return paced_batches(partial(_purge_batch, rows, kind, tenant_id, actor))


@transaction.atomic
def _purge_batch(rows: QuerySet[Any], kind: PurgeKind, tenant_id: uuid.UUID | None, actor: str) -> int:
    ids = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
    if not ids:
        return 0
    count, _ = rows.filter(pk__in=ids).order_by().delete()
    admin_audit_record(
        actor=actor,
        action=kind.action,
        object_id=kind.object_id,
        object_name=kind.object_name,
        tenant_id=tenant_id,
        before={kind.unit: count},
        after=None,
    )
    return count
