"""Transfer of facts from the Redis stream to the database; a fact leaves the stream once it is stored."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from typing import TypeAlias, cast

import redis
from django.db import DataError, IntegrityError
from django.utils import timezone

from inference_worker.protocol import names
from inference_worker.protocol.codec import ProtocolError, encode
from inference_worker.protocol.messages import Fact
from tenants.ledger.fact_decoding import fact_decode, fact_name
from tenants.ledger.late_facts import late_tenants_note
from tenants.ledger.request_state import StateChange
from tenants.ledger.store import facts_store

logger = logging.getLogger("cyllm.ledger")

DEAD_STREAM = "cyllm:facts:dead"
MAX_DEAD_FACTS = 10_000
# Well above the time a batch takes: entries pending for longer belong to a dead consumer.
CLAIM_IDLE_MS = 30_000
CONSUMER_IDLE_MS = 24 * 3600 * 1000

Entry: TypeAlias = tuple[bytes, dict[bytes, bytes] | None]


def consumer_name() -> str:
    """Return this process's name in the consumer group."""
    return f"{socket.gethostname()}-{os.getpid()}"


def ledger_drain(client: redis.Redis, *, batch: int = 500, consumer: str | None = None) -> int:
    """Move one batch of facts to the database. Returns the number of entries removed from the stream.

    ``client`` must return bytes in redis-py's default shapes. Several drains may run concurrently. Raises
    RedisError and Django's database errors; the batch then stays pending and is read again.
    """
    entries = _next_entries(client, consumer or consumer_name(), batch)
    if not entries:
        return 0
    facts = _decode(client, entries)
    try:
        changes = facts_store(facts, now=timezone.now())
    except (DataError, IntegrityError):
        changes = _store_individually(client, facts)
    late_tenants_note(client, facts, changes, timezone.now())
    _remove(client, [entry_id for entry_id, _ in entries])
    return len(entries)


def _next_entries(client: redis.Redis, consumer: str, batch: int) -> list[Entry]:
    try:
        return _take(client, consumer, batch)
    except redis.ResponseError as error:
        if not str(error).startswith("NOGROUP"):
            raise
    _create_group(client)
    return _take(client, consumer, batch)


def _create_group(client: redis.Redis) -> None:
    try:
        client.xgroup_create(names.FACTS_STREAM, names.FACTS_GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):  # another drain has created it
            raise


def _take(client: redis.Redis, consumer: str, batch: int) -> list[Entry]:
    """Return this consumer's pending entries, else those of a dead consumer, else new ones."""
    entries = _read_group(client, consumer, batch, "0")
    if not entries:
        claim = client.xautoclaim(
            names.FACTS_STREAM, names.FACTS_GROUP, consumer, min_idle_time=CLAIM_IDLE_MS, count=batch
        )
        entries = cast("list[Entry]", claim[1])
    return entries or _read_group(client, consumer, batch, ">")


def _read_group(client: redis.Redis, consumer: str, batch: int, position: str) -> list[Entry]:
    reply = client.xreadgroup(names.FACTS_GROUP, consumer, {names.FACTS_STREAM: position}, count=batch)
    streams = cast("list[tuple[bytes, list[Entry]]]", reply)
    return streams[0][1] if streams else []


def _decode(client: redis.Redis, entries: Sequence[Entry]) -> list[Fact]:
    facts = []
    for entry_id, values in entries:
        if not values:  # another drain has stored and deleted it
            continue
        data = values.get(names.FACTS_FIELD, b"")
        try:
            facts.append(fact_decode(data))
        except ProtocolError as error:
            _reject(client, data, entry_id.decode(), str(error))
    return facts


def _store_individually(client: redis.Redis, facts: Sequence[Fact]) -> list[StateChange]:
    """Store the facts of a rejected batch one at a time, and set aside those that are rejected again."""
    changes: list[StateChange] = []
    for fact in facts:
        try:
            changes += facts_store([fact], now=timezone.now())
        except (DataError, IntegrityError) as error:
            _reject(client, encode(fact), fact_name(fact), type(error).__name__)
    return changes


def _reject(client: redis.Redis, data: bytes, name: str, reason: str) -> None:
    logger.error("cannot store fact %s, moved it to %s: %s", name, DEAD_STREAM, reason)
    client.xadd(
        DEAD_STREAM,
        {names.FACTS_FIELD: data, b"entry": name, b"reason": reason},
        maxlen=MAX_DEAD_FACTS,
        approximate=True,
    )


def _remove(client: redis.Redis, entry_ids: Sequence[bytes]) -> None:
    with client.pipeline(transaction=True) as pipeline:
        pipeline.xack(names.FACTS_STREAM, names.FACTS_GROUP, *entry_ids)
        pipeline.xdel(names.FACTS_STREAM, *entry_ids)
        pipeline.execute()


def consumers_prune(client: redis.Redis) -> None:
    """Delete idle consumers without pending entries; their processes ended long ago."""
    try:
        consumers = client.xinfo_consumers(names.FACTS_STREAM, names.FACTS_GROUP)
    except redis.ResponseError:  # neither stream nor group exists before the first drain
        return
    for consumer in consumers:
        if consumer["pending"] == 0 and consumer["idle"] > CONSUMER_IDLE_MS:
            client.xgroup_delconsumer(names.FACTS_STREAM, names.FACTS_GROUP, consumer["name"])
