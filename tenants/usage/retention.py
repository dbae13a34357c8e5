"""Deletion of old counts of refusals, in batches, with the retention of audit records."""

from __future__ import annotations

import datetime as dt
import uuid

from django.db.models import Q, QuerySet

from tenants.audit_trail.row_purge import PurgeKind, rows_purge
from tenants.models import Tenant
from tenants.usage.models import RefusalCount

PURGE = PurgeKind("audit.purge_refusals", "refusals", "counts of refusals", unit="counts")


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
    counts = RefusalCount.objects.filter(old).order_by("id")
    return rows_purge(counts, PURGE, tenant_id=tenant_id, actor=actor)
