"""Storage of facts in usage and audit records; storing a fact again changes nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from django.db import transaction

from inference_worker.protocol.messages import (
    REFUSAL_STATUSES,
    Fact,
    Outcome,
    RequestEnded,
    RequestsRefused,
    RequestStarted,
)
from tenants.audit_trail.models import SealPosition, Trail
from tenants.choices import RecordOutcome
from tenants.keys.last_use import LastUse, last_use_advance
from tenants.ledger.column_values import utc_time
from tenants.ledger.columns import AuditColumns, audit_columns, state_of_audit, state_of_usage, usage_columns
from tenants.ledger.refusals import refusals_save
from tenants.ledger.request_state import RequestState, StateChange, fact_merge
from tenants.ledger.upsert import records_upsert
from tenants.locks import ledger_lock
from tenants.models import AuditRecord, UsageRecord


@transaction.atomic
def facts_store(facts: Sequence[Fact], *, now: dt.datetime) -> list[StateChange]:
    """Merge ``facts`` into usage and audit records, in one transaction. Returns the usage records changed."""
    ledger_lock()
    refusals = [fact for fact in facts if isinstance(fact, RequestsRefused)]
    request_facts = [fact for fact in facts if not isinstance(fact, RequestsRefused)]
    stored_states = _load_states({fact.request_id for fact in request_facts})
    states = dict(stored_states)
    for fact in request_facts:
        state = states.get(fact.request_id) or RequestState(fact.request_id)
        states[fact.request_id] = fact_merge(state, fact)
    changes = [
        StateChange(stored_states.get(request_id), _settle(state, now))
        for request_id, state in states.items()
        if state.is_admitted and state != stored_states.get(request_id)
    ]
    usage_save((change.state for change in changes), now=now)
    ends = [fact for fact in facts if isinstance(fact, RequestEnded)]
    _audit_ends(ends)
    refusals_save(refusals)
    _update_last_use([fact for fact in facts if isinstance(fact, RequestStarted)])
    _update_last_refusal(ends, refusals)
    return changes


def usage_save(states: Iterable[RequestState], *, now: dt.datetime) -> None:
    """Insert or overwrite the usage records of ``states``. The caller holds the ledger's lock.

    A read has a usage record only until it ends, for the sweep to find; then its audit record remains.
    """
    finished_reads: list[RequestState] = []
    others: list[RequestState] = []
    for state in states:
        (finished_reads if state.is_read and state.settled_at is not None else others).append(state)
    if finished_reads:
        UsageRecord.objects.filter(request_id__in=[state.request_id for state in finished_reads]).delete()
    records_upsert(UsageRecord, [{**usage_columns(state), "updated_at": now} for state in others])


def audit_save(records: Collection[AuditColumns]) -> None:
    """Insert or overwrite audit records. The caller holds the ledger's lock."""
    records_upsert(AuditRecord, list(records))


def _load_states(request_ids: set[str]) -> dict[str, RequestState]:
    usage_records = UsageRecord.objects.filter(request_id__in=request_ids)
    states = {record.request_id: state_of_usage(record) for record in usage_records}
    # An end that overtook its start has left only an audit record.
    for record in AuditRecord.objects.filter(request_id__in=request_ids - states.keys()):
        states[record.request_id] = state_of_audit(record)
    return states


def _settle(state: RequestState, now: dt.datetime) -> RequestState:
    if state.is_complete and state.settled_at is None:
        return replace(state, settled_at=now)
    return state


def _audit_ends(ends: Sequence[RequestEnded]) -> None:
    """Write an audit record for each end; it replaces only the sweep's ``lost`` ones that are not sealed."""
    position = SealPosition.objects.filter(trail=Trail.REQUESTS).values_list("last_id", flat=True)
    final_ids = set(
        AuditRecord.objects.filter(request_id__in=[end.request_id for end in ends])
        .exclude(outcome=RecordOutcome.LOST, id__gt=position.first() or 0)
        .values_list("request_id", flat=True)
    )
    # Reversed, so that the first of several ends of one request wins.
    new_ends = [end for end in reversed(ends) if end.request_id not in final_ids]
    audit_save(list({end.request_id: audit_columns(end) for end in new_ends}.values()))


def _update_last_use(starts: Sequence[RequestStarted]) -> None:
    """Record when keys were last used, at most once a minute per key to limit the writes."""
    _advance("last_used_at", [(start.key_id, start.started_at) for start in starts])


def _update_last_refusal(ends: Sequence[RequestEnded], refusals: Sequence[RequestsRefused]) -> None:
    """Record when keys were last refused for their rights or limits, at most once a minute per key."""
    times = [
        (end.key_id, end.started_at)
        for end in ends
        if end.key_id and end.outcome is Outcome.REFUSED and end.status in REFUSAL_STATUSES
    ]
    times += [(fact.key_id, fact.minute_at) for fact in refusals if fact.key_id]
    _advance("last_refused_at", times)


def _advance(column: LastUse, times: Iterable[tuple[str, float]]) -> None:
    latest: dict[str, float] = {}
    for key_id, unix_s in times:
        latest[key_id] = max(unix_s, latest.get(key_id, 0.0))
    for key_id in sorted(latest):
        last_use_advance(uuid.UUID(key_id), utc_time(latest[key_id]), column)
