"""Deletion of old audit records of API requests, seal by seal: neither blocks writers nor breaks a chain."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from django.db import transaction
from django.db.models import Min, Q, QuerySet, Sum
from django.utils import timezone

from tenants.audit_trail.changes import admin_audit_record
from tenants.audit_trail.digests import purge_mac
from tenants.audit_trail.models import AuditSeal, SealPosition, Trail
from tenants.audit_trail.sealing import audit_seal
from tenants.audit_trail.verification import (
    LOWEST_ID,
    PURGE_ACTION,
    Finding,
    seal_checks,
    selection_findings,
)
from tenants.long_tasks import paced_batches
from tenants.models import AuditRecord, Tenant

logger = logging.getLogger("cyllm.audit")

BATCH = 1000


def audit_purge(
    *, before: dt.datetime, actor: str, tenant: Tenant | None = None, accept_damage: bool = False
) -> int:
    """Delete audit records that are older than a time, like ``audit_retention``. Returns their number.

    ``tenant`` None: the records of all tenants, and those without one. ``accept_damage``: also those that
    deviate from their seals.
    """
    audit_seal(Trail.REQUESTS)
    purges = [_Purge(tenant_id, before, actor, accept_damage) for tenant_id in _sealed_tenants(tenant)]
    return sum(purge.run(BATCH) for purge in purges)


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

    Whole seals are deleted: those that hold no newer record. A tenant's first seal that deviates from its
    records is kept, and all after it, because they are the trace of the deviation. Returns the number of
    records. Each batch is one transaction with its own administrative audit record, so that an interrupted
    purge has recorded exactly what it deleted. A batch holds more than ``batch`` records if its only seal
    does.
    """
    audit_seal(Trail.REQUESTS)
    days = dict(Tenant.objects.exclude(audit_keep_days=None).values_list("id", "audit_keep_days"))
    count = 0
    for tenant_id in _sealed_tenants():
        keep_days = days.get(tenant_id) if tenant_id else None
        before = now - dt.timedelta(days=default_days if keep_days is None else keep_days)
        count += _Purge(tenant_id, before, actor).run(batch)
    return count


def _sealed_tenants(tenant: Tenant | None = None) -> list[uuid.UUID | None]:
    seals = AuditSeal.objects.filter(trail=Trail.REQUESTS, purged_at=None)
    if tenant is not None:
        seals = seals.filter(tenant_id=tenant.id)
    return list(seals.order_by().values_list("tenant_id", flat=True).distinct())


def _previous_last_id(seals: QuerySet[AuditSeal], seal: AuditSeal) -> int:
    previous = seals.filter(number=seal.number - 1).values_list("last_id", flat=True).first()
    return previous or 0


@dataclass(frozen=True, slots=True)
class _Purge:
    """A purge of one tenant's records, None: of those without a tenant."""

    tenant_id: uuid.UUID | None
    before: dt.datetime
    actor: str
    accept_damage: bool = False

    @property
    def seals(self) -> QuerySet[AuditSeal]:
        """All seals of the tenant, the oldest first."""
        seals = AuditSeal.objects.filter(trail=Trail.REQUESTS, tenant_id=self.tenant_id)
        return seals.order_by("number")

    def run(self, batch: int) -> int:
        """Delete in batches of about as many records. Returns the number of records."""
        return paced_batches(partial(self._batch, batch))

    @transaction.atomic
    def _batch(self, batch: int) -> int:
        # Purges run one after the other: each must see the seals that the one before has left.
        SealPosition.objects.select_for_update().filter(trail=Trail.REQUESTS).first()
        count = 0
        # A batch is empty if somebody else has deleted its records: it must not end the purge.
        while not count and (selection := self._selection(batch)):
            count = self._delete(selection)
        return count

    def _selection(self, batch: int) -> list[AuditSeal]:
        """Return the seals of the next batch, without the first that is damaged and all after it."""
        seals: Iterable[AuditSeal] = self._oldest(batch)
        if not self.accept_damage:
            seals = _intact(seals)
        return [seal for seal in seals if seal.purged_at is None]

    def _oldest(self, batch: int) -> Iterator[AuditSeal]:
        """Yield the oldest seals, as long as they are old enough and the batch has room."""
        record_count = 0
        for seal in self.seals[: batch + 1]:
            if seal.purged_at is None:
                record_count += seal.record_count
            has_room = record_count <= batch or record_count == seal.record_count
            if seal.newest_at >= self.before or not has_room:
                return
            yield seal

    def _delete(self, selection: Sequence[AuditSeal]) -> int:
        last = selection[-1]
        # The lower bound keeps the scan to these records: the ids of other tenants lie between them. Where
        # seals can be wrong, records below it may be left over.
        first_id = LOWEST_ID if self.accept_damage else _previous_last_id(self.seals, selection[0])
        records = AuditRecord.objects.filter(
            Q(tenant_id=last.tenant_id), id__gt=first_id, id__lte=last.last_id
        )
        count, _ = records.delete()
        self.seals.filter(number__lt=last.number).delete()
        last.purged_at = timezone.now()
        last.save(update_fields=["purged_at"])
        admin_audit_record(
            actor=self.actor,
            action=PURGE_ACTION,
            object_id="audit",
            object_name=f"audit records before {self.before.isoformat()}",
            tenant_id=last.tenant_id,
            before={"records": count, "seal": last.number, "chain": last.chain, "mac": purge_mac(last)},
            after=None,
        )
        return count


def _intact(seals: Iterable[AuditSeal]) -> Iterator[AuditSeal]:
    """Yield seals as long as they agree with each other and their records; report the first that doesn't."""
    for check in seal_checks(seals, lambda seal: seal.purged_at is None):
        if check.finding is not None:
            _report(check.finding)
            return
        yield check.seal


def _report(finding: Finding) -> None:
    logger.error(
        "tenant %s: audit %s and all later ones are not deleted (%s); see 'manage.py audit verify' and "
        "'manage.py audit purge --accept-damage'",
        finding.tenant_id or "-",
        finding.place,
        finding.fault,
    )
