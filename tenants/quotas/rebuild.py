"""Rebuilding of a tenant's counters from the ledger, after Redis has lost them or may have lost some.

Gateways and workers hold every fact until the ledger has stored it, and write what they hold again when
Redis has lost its data. The rebuild waits for them, lets the ledger store everything, and then reads it.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import Any

import redis
from django.db import connection, transaction
from django.utils import timezone

from inference_worker.protocol.names import FACTS_GROUP, FACTS_STREAM
from inference_worker.transport.incarnation import incarnation_read
from tenants.ledger.drain import ledger_drain
from tenants.ledger.late_facts import late_tenant_forget
from tenants.quotas.amounts import utc_day
from tenants.quotas.counters import names, scripts
from tenants.quotas.counters.forgetting import counters_forget
from tenants.quotas.counters.quota_counters import LEASE_MS
from tenants.quotas.figures import TenantFigures, tenant_figures

logger = logging.getLogger("cyllm.quotas")

# Longer than a process needs to notice that Redis has lost its data, and to write its facts again.
WRITERS_WAIT_S = 1.5
LOCK_S = 20.0
POLL_S = 0.05


class RebuildTimeout(redis.RedisError):
    """The counters could not be rebuilt in time."""


def counters_rebuild(
    client: redis.Redis,
    tenant_id: str,
    *,
    timeout_s: float = 8.0,
    is_forced: bool = False,
) -> bool:
    """Rebuild the counters unless they are those of Redis's current incarnation.

    ``is_forced``: rebuild them in any case. Returns False if another process has done it meanwhile. Raises
    RedisError and Django's database errors; then no counters exist, and nothing is admitted until another
    attempt succeeds.
    """
    deadline = time.monotonic() + timeout_s
    if is_forced:
        counters_forget(client, tenant_id)
    while (is_rebuilt := _rebuild_locked(client, tenant_id, deadline)) is None:
        _wait(deadline)
    if is_rebuilt:
        logger.info("rebuilt the quota counters of tenant %s from the ledger", tenant_id)
    return is_rebuilt


def _rebuild_locked(client: redis.Redis, tenant_id: str, deadline: float) -> bool | None:
    """Rebuild under the lock; False if another process has done it, None if the lock was lost meanwhile.

    A change of the spend takes the lock away, because what was read before it is out of date.
    """
    token = secrets.token_hex(16)
    incarnation, age_s = incarnation_read(client)
    lock = names.rebuild_lock(tenant_id)
    while not client.set(lock, token, nx=True, px=int(LOCK_S * 1000)):
        _wait(deadline)
        if _is_current(client, tenant_id, incarnation):
            return False
    try:
        if _is_current(client, tenant_id, incarnation):
            return False
        time.sleep(max(0.0, WRITERS_WAIT_S - age_s))
        reservations = _reservations(client, tenant_id)  # nothing is admitted from now on
        _drain(client, deadline)
        late_tenant_forget(client, tenant_id)  # what is read now contains what was stored late
        client.zadd(names.TENANTS, {tenant_id: int(client.time()[0])})
        return _write(client, tenant_id, token, incarnation, reservations) or None
    finally:
        if client.get(lock) == token.encode():
            client.delete(lock)


def _is_current(client: redis.Redis, tenant_id: str, incarnation: bytes) -> bool:
    return client.hget(names.tenant_counters(tenant_id), "incarnation") == incarnation


def _wait(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise RebuildTimeout("another process rebuilds the counters, and takes too long")
    time.sleep(POLL_S)


def _drain(client: redis.Redis, deadline: float) -> None:
    """Let the ledger store every fact that was in the stream when this began."""
    count = int(client.xlen(FACTS_STREAM))
    while count > 0:
        drained_count = ledger_drain(client)
        if not drained_count:  # another drain has taken the rest
            break
        count -= drained_count
        if time.monotonic() > deadline:
            raise RebuildTimeout("the ledger has too many facts to store")
    # A drain that runs elsewhere still stores what it took.
    while _pending(client):
        _wait(deadline)


def _pending(client: redis.Redis) -> int:
    try:
        reply: Any = client.xpending(FACTS_STREAM, FACTS_GROUP)
    except redis.ResponseError:  # there is no group yet
        return 0
    return int(reply["pending"])


def _reservations(client: redis.Redis, tenant_id: str) -> dict[str, str]:
    """Return the reservations in Redis by request id."""
    fields: Any = client.hgetall(names.reservations(tenant_id))
    return {request_id.decode(): reservation.decode() for request_id, reservation in fields.items()}


def _write(
    client: redis.Redis, tenant_id: str, token: str, incarnation: bytes, reservations: Mapping[str, str]
) -> bool:
    """Write the counters; False if the lock is lost."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        figures = tenant_figures(uuid.UUID(tenant_id), timezone.now(), reservations)
    keys, state = _state(tenant_id, figures, incarnation, timezone.now())
    return bool(client.eval(scripts.REBUILD.text, len(keys), *keys, token, LEASE_MS, json.dumps(state)))


def _state(
    tenant_id: str, figures: TenantFigures, incarnation: bytes, now: dt.datetime
) -> tuple[list[str], dict[str, object]]:
    """Return the keys and the JSON of the rebuild script."""
    day = utc_day(now.timestamp())
    keys = [
        names.tenant_counters(tenant_id),
        names.rebuild_lock(tenant_id),
        names.reservations(tenant_id),
        names.tenant_leases(tenant_id),
    ]
    positions = {key_id: position for position, key_id in enumerate(figures.keys, start=1)}
    for key_id in figures.keys:
        keys += (names.key_counters(tenant_id, key_id), names.key_leases(tenant_id, key_id))
    reservations = [
        (request_id, positions.get(reservation.key_id, 0), str(reservation))
        for request_id, reservation in figures.open_requests.items()
    ]
    scopes = [scope.fields() | {"day": day} for scope in figures.keys.values()]
    reservation_field = {"reserved_day": figures.reserved_day} if figures.reserved_day else {}
    return keys, {
        "incarnation": incarnation.decode(),
        "tenant": figures.tenant.fields() | {"day": day} | reservation_field,
        "keys": scopes,
        "reservations": reservations,
    }
