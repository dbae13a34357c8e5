"""Deletion of old counts of refusals, in batches, with the retention of audit records."""

from __future__ import annotations

import datetime as dt
import uuid

from django.db import transaction
from django.db.models import Q, QuerySet

from tenants.audit_trail.changes import admin_audit_record
from tenants.models import Tenant
from tenants.usage.models import RefusalCount

BATCH = 1000
PURGE_ACTION = "audit.purge_refusals"


def refusals_retention(*, now: dt.datetime, default_days: int, actor: str) -> int:
    """Delete the counts of each tenant that are older than its retention, or than the default.

    Each batch is one transaction with its own administrative audit record. Returns the number of counts.
    """
    days = dict(Tenant.objects.exclude(audit_keep_days=None).values_list("id", "audit_keep_days"))
    own = [
        (tenant_id, Q(tenant_id=tenant_id, minute_at__lt=now - dt.timedelta(days=keep_days or default_days)))
        for tenant_id, keep_days in days.items()
    ]
    others = Q(minute_at__lt=now - dt.timedelta(days=default_days)) & (
        Q(tenant_id=None) | ~Q(tenant_id__in=list(days))
    )
    return sum(_purge(tenant_id, old, actor) for tenant_id, old in [*own, (None, others)])


def refusals_purge(*, before: dt.datetime, actor: str, tenant: Tenant | None = None) -> int:
    """Delete a tenant's counts, None: those of all, from before a time. Returns their number.

    Batches are audited as those of ``refusals_retention``.
    """
    tenant_id = None if tenant is None else tenant.id
    return _purge(tenant_id, _before(before, tenant), actor)


def old_refusals(*, before: dt.datetime, tenant: Tenant | None = None) -> QuerySet[RefusalCount]:
    """Return the counts that ``refusals_purge`` would delete."""
    return RefusalCount.objects.filter(_before(before, tenant))


def _before(before: dt.datetime, tenant: Tenant | None) -> Q:
    old = Q(minute_at__lt=before)
    return old if tenant is None else old & Q(tenant_id=tenant.id)


def _purge(tenant_id: uuid.UUID | None, old: Q, actor: str) -> int:
    count = 0
    while batch_count := _purge_batch(tenant_id, old, actor):
        count += batch_count
    return count


@transaction.atomic
def _purge_batch(tenant_id: uuid.UUID | None, old: Q, actor: str) -> int:
    ids = list(RefusalCount.objects.filter(old).order_by("id").values_list("id", flat=True)[:BATCH])
    if not ids:
        return 0
    count, _ = RefusalCount.objects.filter(id__in=ids).delete()
    admin_audit_record(
        actor=actor,
        action=PURGE_ACTION,
        object_id="refusals",
        object_name="counts of refusals",
        tenant_id=tenant_id,
        before={"counts": count},
        after=None,
    )
    return count
