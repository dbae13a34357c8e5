"""Deletion of old audit records of API requests, seal by seal: neither blocks writers nor breaks a chain."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from functools import partial

from django.db import transaction
from django.db.models import Min, Q, QuerySet, Sum
from django.utils import timezone

from tenants.audit_trail.changes import admin_audit_record
from tenants.audit_trail.digests import purge_mac
from tenants.audit_trail.models import AuditSeal, SealPosition, Trail
from tenants.audit_trail.sealing import audit_seal
from tenants.audit_trail.verification import PURGE_ACTION, Finding, selection_findings
from tenants.long_tasks import paced_batches
from tenants.models import AuditRecord, Tenant

BATCH = 1000


def audit_purge(*, before: dt.datetime, actor: str, tenant: Tenant | None = None) -> int:
    """Delete audit records from before a time, as ``audit_retention`` does. Returns their number.

    ``tenant`` None: the records of all tenants, and those without one.
    """
    audit_seal(Trail.REQUESTS)
    return sum(_purge_tenant(tenant_id, before, actor, BATCH) for tenant_id in _sealed_tenants(tenant))


def purgeable_records(*, before: dt.datetime, tenant: Tenant | None = None) -> int:
    """Return how many sealed records ``audit_purge`` would delete."""
    return sum(_purgeable_records(tenant_id, before) for tenant_id in _sealed_tenants(tenant))


def purge_findings(*, before: dt.datetime, tenant: Tenant | None = None) -> list[Finding]:
    """Return the deviations whose traces ``audit_purge`` would delete, and those of the seals themselves."""
    tenant_id = None if tenant is None else tenant.id
    return selection_findings(Trail.REQUESTS, tenant_id, lambda seal: seal.newest_at < before)


def _purgeable_records(tenant_id: uuid.UUID | None, before: dt.datetime) -> int:
    seals = AuditSeal.objects.filter(trail=Trail.REQUESTS, tenant_id=tenant_id, purged_at=None)
    first_kept = seals.filter(newest_at__gte=before).aggregate(number=Min("number"))["number"]
    old = seals if first_kept is None else seals.filter(number__lt=first_kept)
    return old.aggregate(records=Sum("record_count"))["records"] or 0


def audit_retention(*, now: dt.datetime, default_days: int, actor: str, batch: int = BATCH) -> int:
    """Delete each tenant's audit records that are older than its own retention or the default.

    Whole seals are deleted: those that hold no newer record. Returns the number of records. Each batch is
    one transaction with its own administrative audit record, so that an interrupted purge has recorded
    exactly what it deleted. A batch holds more than ``batch`` records if its only seal does.
    """
    audit_seal(Trail.REQUESTS)
    days = dict(Tenant.objects.exclude(audit_keep_days=None).values_list("id", "audit_keep_days"))
    count = 0
    for tenant_id in _sealed_tenants():
        keep_days = days.get(tenant_id) if tenant_id else None
        before = now - dt.timedelta(days=default_days if keep_days is None else keep_days)
        count += _purge_tenant(tenant_id, before, actor, batch)
    return count


def _sealed_tenants(tenant: Tenant | None = None) -> list[uuid.UUID | None]:
    seals = AuditSeal.objects.filter(trail=Trail.REQUESTS, purged_at=None)
    if tenant is not None:
        seals = seals.filter(tenant_id=tenant.id)
    return list(seals.order_by().values_list("tenant_id", flat=True).distinct())


def _purge_tenant(tenant_id: uuid.UUID | None, before: dt.datetime, actor: str, batch: int) -> int:
    seals = AuditSeal.objects.filter(trail=Trail.REQUESTS, tenant_id=tenant_id)
    return paced_batches(partial(_purge_batch, seals, before, batch, actor))


def _batch(seals: QuerySet[AuditSeal], before: dt.datetime, batch: int) -> Iterator[AuditSeal]:
    """Yield the tenant's oldest seals, as long as they are old enough and the batch has room."""
    record_count = 0
    for seal in seals.filter(purged_at=None).order_by("number")[:batch]:
        record_count += seal.record_count
        if seal.newest_at >= before or (record_count > batch and record_count > seal.record_count):
            return
        yield seal


def _previous_last_id(seals: QuerySet[AuditSeal], seal: AuditSeal) -> int:
    previous = seals.filter(number=seal.number - 1).values_list("last_id", flat=True).first()
    return previous or 0


@transaction.atomic
def _purge_batch(seals: QuerySet[AuditSeal], before: dt.datetime, batch: int, actor: str) -> int:
    # Purges run one after the other: each must see the seals that the one before has left.
    SealPosition.objects.select_for_update().filter(trail=Trail.REQUESTS).first()
    count = 0
    # A batch is empty if somebody else has deleted its records: it must not end the purge.
    while not count and (selection := list(_batch(seals, before, batch))):
        count = _purge_selection(seals, selection, before, actor)
    return count


def _purge_selection(
    seals: QuerySet[AuditSeal], selection: Sequence[AuditSeal], before: dt.datetime, actor: str
) -> int:
    last = selection[-1]
    # The lower bound keeps the scan to these records: the ids of other tenants lie between them.
    first_id = _previous_last_id(seals, selection[0])
    records = AuditRecord.objects.filter(Q(tenant_id=last.tenant_id), id__gt=first_id, id__lte=last.last_id)
    count, _ = records.delete()
    older = AuditSeal.objects.filter(trail=last.trail, tenant_id=last.tenant_id, number__lt=last.number)
    older.delete()
    last.purged_at = timezone.now()
    last.save(update_fields=["purged_at"])
    admin_audit_record(
        actor=actor,
        action=PURGE_ACTION,
        object_id="audit",
        object_name=f"audit records before {before.isoformat()}",
        tenant_id=last.tenant_id,
        before={"records": count, "seal": last.number, "chain": last.chain, "mac": purge_mac(last)},
        after=None,
    )
    return count
