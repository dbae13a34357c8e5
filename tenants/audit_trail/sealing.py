"""Seals new audit records, tenant by tenant. Writers never wait for it longer than a moment."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from django.db import OperationalError, transaction
from django.db.models import Max

from tenants.audit_trail.digests import (
    FIRST_CHAIN,
    TRAILS,
    current_key_id,
    position_mac,
    records_digest,
    seal_chain,
)
from tenants.audit_trail.models import AuditSeal, SealPosition, Trail
from tenants.locks import change_lock_exclusive, ledger_lock

MAX_RECORDS = 10_000
MAX_RECORDS_PER_SEAL = 1000
LOCK_TIMEOUT_MS = 200


def audit_seal(trail: Trail) -> int:
    """Seal all complete records of a trail. Returns their number; 0 also while writers hold the lock."""
    try:
        last_id = _last_complete_id(trail)
    except OperationalError:
        return 0
    count = 0
    while batch_count := _seal_batch(trail, last_id):
        count += batch_count
    return count


@transaction.atomic
def _last_complete_id(trail: Trail) -> int:
    if trail is Trail.REQUESTS:
        ledger_lock()
    else:
        change_lock_exclusive(timeout_ms=LOCK_TIMEOUT_MS)
    return TRAILS[trail]._default_manager.aggregate(last_id=Max("id"))["last_id"] or 0


@transaction.atomic
def _seal_batch(trail: Trail, last_id: int) -> int:
    position = _locked_position(trail)
    records = TRAILS[trail]._default_manager.filter(id__gt=position.last_id, id__lte=last_id)
    batch: list[Any] = list(records.order_by("id")[:MAX_RECORDS])
    if not batch:
        return 0
    seals = [
        _seal_records(trail, tenant_id, group)
        for tenant_id, records_of_tenant in _by_tenant(batch)
        for group in _groups(records_of_tenant)
    ]
    position.last_id, position.seal_count = batch[-1].id, position.seal_count + len(seals)
    position.key_id = current_key_id()
    position.mac = position_mac(position)
    position.save()
    return len(batch)


def _locked_position(trail: Trail) -> SealPosition:
    start = SealPosition(trail=trail.value, key_id=current_key_id())
    start.mac = position_mac(start)
    SealPosition.objects.bulk_create([start], ignore_conflicts=True)
    return SealPosition.objects.select_for_update().get(trail=trail)


def _by_tenant(batch: Sequence[Any]) -> Iterator[tuple[uuid.UUID | None, list[Any]]]:
    by_tenant: dict[uuid.UUID | None, list[Any]] = {}
    for record in batch:
        by_tenant.setdefault(record.tenant_id, []).append(record)
    yield from by_tenant.items()


def _groups(records: Sequence[Any]) -> Iterator[list[Any]]:
    """Split a tenant's records: a seal never spans days, so that retention can delete it as a whole."""
    for _, day in groupby(records, lambda record: record.at.date()):
        day_records = list(day)
        for start in range(0, len(day_records), MAX_RECORDS_PER_SEAL):
            yield day_records[start : start + MAX_RECORDS_PER_SEAL]


def _seal_records(trail: Trail, tenant_id: uuid.UUID | None, records: Sequence[Any]) -> AuditSeal:
    number, chain = chain_end(trail, tenant_id)
    seal = AuditSeal(
        trail=trail.value,
        tenant_id=tenant_id,
        number=number + 1,
        last_id=records[-1].id,
        record_count=len(records),
        newest_at=max(record.at for record in records),
        key_id=current_key_id(),
        digest=records_digest(current_key_id(), trail, records),
    )
    seal.chain = seal_chain(seal, chain)
    seal.save(force_insert=True)
    return seal


def chain_end(trail: Trail, tenant_id: uuid.UUID | None) -> tuple[int, str]:
    """Return number and chain of a tenant's last seal."""
    seals = AuditSeal.objects.filter(trail=trail, tenant_id=tenant_id).order_by("-number")
    last = seals.values_list("number", "chain").first()
    return last or (0, FIRST_CHAIN)
