"""Verification of the audit trails: finds records changed, deleted or inserted after their sealing."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from tenants.audit_trail.digests import (
    FIRST_CHAIN,
    TRAILS,
    is_key_known,
    position_mac,
    purge_mac,
    records_digest,
    seal_chain,
)
from tenants.audit_trail.models import AuditSeal, SealPosition, Trail
from tenants.models import AdminAudit

PURGE_ACTION = "audit.purge"
LOWEST_ID = -(2**63)
SEALED_WITHIN = dt.timedelta(minutes=10)
MISSING_SEALS = "seals before this one are missing"
CHANGED_SEAL = "the seal was changed"
UNSEALED_RECORDS = "records were inserted, or a seal was deleted"
UNKNOWN_KEY = "sealed with a secret key that is neither CYLLM_SECRET_KEY nor in CYLLM_OLD_SECRET_KEYS"


@dataclass(frozen=True, slots=True)
class Finding:
    """A place where a trail deviates from its seals. Ids are those of audit records, both inclusive.

    ``first_id`` None: the place begins with the chain. ``last_id`` None: it is not a range of records.
    """

    trail: str
    tenant_id: uuid.UUID | None
    first_id: int | None
    last_id: int | None
    fault: str

    @property
    def place(self) -> str:
        """The records, such as ``records 3 to 9``; empty if the place is not a range of records."""
        if self.last_id is None:
            return ""
        if self.first_id is None:
            return f"records up to {self.last_id}"
        if self.first_id == self.last_id:
            return f"record {self.last_id}"
        return f"records {self.first_id} to {self.last_id}"


@dataclass(frozen=True, slots=True)
class Head:
    """The last seal of a tenant's chain. Kept outside the database, it shows a return to an earlier state."""

    tenant_id: uuid.UUID | None
    number: int
    chain: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Result for one trail. ``sealed_to``: the highest id that the seals cover."""

    trail: str
    seals: int
    records: int
    sealed_to: int
    heads: tuple[Head, ...]
    findings: tuple[Finding, ...]


def audit_verify(trail: Trail) -> Verification:
    """Compare a trail with its seals."""
    with read_snapshot():
        return _verify(trail)


def tenant_chain_findings(trail: Trail, tenant_id: uuid.UUID) -> list[Finding]:
    """Return the deviations of one tenant's records from their seals."""
    with read_snapshot():
        position = SealPosition.objects.filter(trail=trail).first()
        return [] if position is None else list(_verify_chain(trail, tenant_id, position).findings)


def selection_findings(
    trail: Trail, tenant_id: uuid.UUID | None, is_selected: Callable[[AuditSeal], bool]
) -> list[Finding]:
    """Return the deviations that concern the records under selected seals of a tenant, None: of all tenants.

    Seals are all compared with each other, and only the selected ones with their records.
    """
    with read_snapshot():
        position = SealPosition.objects.filter(trail=trail).first()
        if position is None:
            return list(_unsealed_trail(trail))
        tenant_ids = {tenant_id} if tenant_id else _sealed_tenant_ids(trail)
        chains = [_verify_chain(trail, each, position, is_selected) for each in tenant_ids]
        findings = [finding for chain in chains for finding in chain.findings]
        if tenant_id is None:
            findings += _foreign_records(trail, position, tenant_ids)
        return [*findings, *_position_findings(position)]


@contextmanager
def read_snapshot() -> Iterator[None]:
    """Read one state of the database for as long as it takes: sealing and purging go on meanwhile."""
    is_outermost = not connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        if is_outermost:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL statement_timeout = 0")
        yield


def _verify(trail: Trail) -> Verification:
    position = SealPosition.objects.filter(trail=trail).first()
    if position is None:
        return Verification(trail, 0, 0, 0, (), tuple(_unsealed_trail(trail)))
    chains = [_verify_chain(trail, tenant_id, position) for tenant_id in _sealed_tenant_ids(trail)]
    findings = [finding for chain in chains for finding in chain.findings]
    findings += _foreign_records(trail, position, {chain.tenant_id for chain in chains})
    findings += _position_findings(position)
    records = sum(chain.records for chain in chains)
    seals = sum(chain.seals for chain in chains)
    heads = tuple(Head(chain.tenant_id, chain.last_number, chain.last_chain) for chain in chains)
    return Verification(trail, seals, records, position.last_id, heads, tuple(findings))


def _position_findings(position: SealPosition) -> Iterator[Finding]:
    """Yield the deviations of the position itself, and of the number of seals ever made."""
    trail = position.trail
    if not is_key_known(position.key_id):
        yield Finding(trail, None, None, position.last_id, f"position: {UNKNOWN_KEY}")
    elif position.mac != position_mac(position):
        yield Finding(trail, None, None, position.last_id, "the position of the seals was changed")
    ends = AuditSeal.objects.filter(trail=trail).order_by().values("tenant_id").annotate(end=Max("number"))
    if sum(ends.values_list("end", flat=True)) != position.seal_count:
        yield Finding(trail, None, None, position.last_id, "seals were deleted or inserted")


def missing_heads(trail: Trail, heads: Iterable[Head]) -> list[Finding]:
    """Return a finding for each earlier head that its chain no longer contains, unless it has been purged."""
    return [
        Finding(trail, head.tenant_id, None, None, f"seal {head.number} of an earlier verification is gone")
        for head in heads
        if not _has_head(trail, head)
    ]


def _has_head(trail: Trail, head: Head) -> bool:
    seals = AuditSeal.objects.filter(trail=trail, tenant_id=head.tenant_id)
    first = seals.order_by("number").first()
    is_purged = first is not None and first.purged_at is not None and first.number > head.number
    return is_purged or seals.filter(number=head.number, chain=head.chain).exists()


@dataclass(frozen=True, slots=True)
class _ChainResult:
    tenant_id: uuid.UUID | None
    seals: int
    records: int
    last_number: int
    last_chain: str
    findings: tuple[Finding, ...]


def _sealed_tenant_ids(trail: Trail) -> list[uuid.UUID | None]:
    seals = AuditSeal.objects.filter(trail=trail).order_by("tenant_id")
    return list(seals.values_list("tenant_id", flat=True).distinct())


def _every_seal(_: AuditSeal) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class SealCheck:
    """Comparison of a seal with the one before it and with its records. ``finding``: its fault."""

    seal: AuditSeal
    record_count: int
    finding: Finding | None


def seal_checks(
    seals: Iterable[AuditSeal], is_selected: Callable[[AuditSeal], bool] = _every_seal
) -> Iterator[SealCheck]:
    """Compare seals with each other, and selected ones with their records.

    ``seals``: those of one tenant in order, from the first of its chain.
    """
    chain, number, last_id = FIRST_CHAIN, 0, LOWEST_ID
    for seal in seals:
        trail, record_count, finding = Trail(seal.trail), 0, None
        fault = _seal_fault(seal, number, chain)
        if is_selected(seal):
            records = _records(trail, seal.tenant_id, last_id, seal.last_id)
            fault, record_count = fault or records_fault(trail, seal, records), len(records)
        if fault:
            first_id = None if last_id == LOWEST_ID else last_id + 1
            finding = Finding(trail, seal.tenant_id, first_id, seal.last_id, fault)
        yield SealCheck(seal, record_count, finding)
        chain, number, last_id = seal.chain, seal.number, seal.last_id


def _verify_chain(
    trail: Trail,
    tenant_id: uuid.UUID | None,
    position: SealPosition,
    is_selected: Callable[[AuditSeal], bool] = _every_seal,
) -> _ChainResult:
    findings: list[Finding] = []
    chain, number, last_id, seal_count, record_count = FIRST_CHAIN, 0, LOWEST_ID, 0, 0
    seals = AuditSeal.objects.filter(trail=trail, tenant_id=tenant_id).order_by("number")
    for check in seal_checks(seals.iterator(), is_selected):
        if check.finding is not None:
            findings.append(check.finding)
        chain, number, last_id = check.seal.chain, check.seal.number, check.seal.last_id
        seal_count, record_count = seal_count + 1, record_count + check.record_count
    if unsealed_records := _records(trail, tenant_id, last_id, position.last_id):
        first, last = unsealed_records[0], unsealed_records[-1]
        findings.append(Finding(trail, tenant_id, first.id, last.id, UNSEALED_RECORDS))
    return _ChainResult(tenant_id, seal_count, record_count, number, chain, tuple(findings))


def _records(trail: Trail, tenant_id: uuid.UUID | None, after_id: int, last_id: int) -> list[Any]:
    records = TRAILS[trail]._default_manager.filter(tenant_id=tenant_id, id__gt=after_id, id__lte=last_id)
    return list(records.order_by("id"))


def _seal_fault(seal: AuditSeal, previous_number: int, previous_chain: str) -> str:
    if seal.purged_at is not None:
        is_recorded = previous_number == 0 and _is_purge_recorded(seal)
        return "" if is_recorded else "records are marked as purged, but no purge is recorded"
    if seal.number != previous_number + 1:
        return MISSING_SEALS
    if not is_key_known(seal.key_id):
        return UNKNOWN_KEY
    return "" if seal.chain == seal_chain(seal, previous_chain) else CHANGED_SEAL


def records_fault(trail: Trail, seal: AuditSeal, records: list[Any]) -> str:
    """Return how records deviate from their seal, an empty text if they don't."""
    missing = (0 if seal.purged_at else seal.record_count) - len(records)
    if missing:
        return f"records were {'deleted' if missing > 0 else 'inserted'}: {abs(missing)}"
    if seal.purged_at or seal.digest == records_digest(seal.key_id, trail, records):
        return ""
    return "a record was changed"


def _is_purge_recorded(seal: AuditSeal) -> bool:
    if seal.trail != Trail.REQUESTS or not is_key_known(seal.key_id):
        return False  # no administrative change is ever purged
    purges = AdminAudit.objects.filter(action=PURGE_ACTION, tenant_id=seal.tenant_id)
    return purges.filter(before__mac=purge_mac(seal)).exists()


def _unsealed_trail(trail: Trail) -> Iterator[Finding]:
    """Yield a finding if a trail without a position should have one: it has seals, or old records."""
    records = TRAILS[trail]._default_manager.filter(at__lt=timezone.now() - SEALED_WITHIN)
    if AuditSeal.objects.filter(trail=trail).exists() or records.exists():
        yield Finding(trail, None, None, None, "nothing is sealed, or the position of the seals was deleted")


def _foreign_records(
    trail: Trail, position: SealPosition, tenant_ids: Collection[uuid.UUID | None]
) -> Iterator[Finding]:
    """Yield the records of tenants that have no seals, although the trail is sealed beyond them."""
    records = TRAILS[trail]._default_manager.filter(id__lte=position.last_id)
    for tenant_id in set(records.values_list("tenant_id", flat=True).distinct()) - set(tenant_ids):
        ids = sorted(records.filter(tenant_id=tenant_id).values_list("id", flat=True))
        yield Finding(trail, tenant_id, ids[0], ids[-1], "records were inserted, or all their seals deleted")
