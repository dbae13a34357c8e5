"""Tenants with late facts, which the ledger has stored but the tenant's quota counters may lack.

Counters contain the requests that gateways settled and, after a loss of Redis, what the ledger contained when
they were rebuilt. They lack a fact from before the loss that a busy process repeats after the rebuild, and a
fact that changes the use of a settled request. The sweep of the quotas lets these counters be rebuilt.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

import redis

from inference_worker.protocol.messages import (
    AttemptMetered,
    Fact,
    RequestEnded,
    RequestsRefused,
    RequestStarted,
)
from inference_worker.transport.incarnation import incarnation_read
from tenants.ledger.columns import usage_columns
from tenants.ledger.request_state import StateChange

# A late fact can change other columns of a settled record, such as the tokens of a lost attempt.
USE_COLUMNS = ("tenant_id", "key_id", "started_at", "prompt_tokens", "completion_tokens", "cost_microusd")
# Set of tenant ids.
LATE_TENANTS = "cyllm:facts:late-tenants"
CLOCK_SKEW_S = 2.0  # at most, between gateways, workers and Redis


def late_tenants_note(
    client: redis.Redis, facts: Sequence[Fact], changes: Iterable[StateChange], now: dt.datetime
) -> None:
    """Note the tenants whose records ``facts`` have changed late. Raises RedisError."""
    _, age_s = incarnation_read(client)
    limit = now.timestamp() - age_s + CLOCK_SKEW_S
    old_ids = {_request_id(fact) for fact in facts if _time(fact) < limit}
    tenant_ids = {
        str(change.state.tenant_id)
        for change in changes
        if change.state.tenant_id
        and not change.state.is_read
        and (change.state.request_id in old_ids or _changes_settled_use(change))
    }
    if tenant_ids:
        client.sadd(LATE_TENANTS, *tenant_ids)


def late_tenants(client: redis.Redis) -> list[str]:
    """Return the noted tenants. Raises RedisError."""
    members: Any = client.smembers(LATE_TENANTS)
    return sorted(member.decode() for member in members)


def late_tenant_forget(client: redis.Redis, tenant_id: str) -> None:
    """Remove a tenant. Call it before its counters are rebuilt. Raises RedisError."""
    client.srem(LATE_TENANTS, tenant_id)


def _changes_settled_use(change: StateChange) -> bool:
    """Return whether a request that had been settled has used something else."""
    if change.earlier is None or change.earlier.settled_at is None:
        return False
    earlier, columns = usage_columns(change.earlier), usage_columns(change.state)
    return any(earlier[name] != columns[name] for name in USE_COLUMNS)


def _request_id(fact: Fact) -> str:
    return "" if isinstance(fact, RequestsRefused) else fact.request_id


def _time(fact: Fact) -> float:
    """Return the Unix time of the event that a fact records."""
    match fact:
        case RequestStarted():
            return fact.started_at
        case AttemptMetered():
            return fact.at
        case RequestEnded():
            return fact.started_at + fact.duration_s
        case RequestsRefused():
            return fact.minute_at
        case _:
            assert_never(fact)
