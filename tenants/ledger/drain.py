"""Takes facts off the stream and into the database; an entry leaves the stream only when it is stored."""

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
from tenants.ledger.facts import fact_read
from tenants.ledger.store import facts_store

logger = logging.getLogger("cyllm.ledger")

DEAD_STREAM = "cyllm:facts:dead"
DEAD_KEPT = 10_000
# Well above the time a batch takes: what is pending for longer belongs to a consumer that died.
CLAIM_IDLE_MS = 30_000
CONSUMER_IDLE_MS = 24 * 3600 * 1000

Entry: TypeAlias = tuple[bytes, dict[bytes, bytes] | None]


def consumer_name() -> str:
    """This process's name in the consumer group."""
    return f"{socket.gethostname()}-{os.getpid()}"


def ledger_drain(client: redis.Redis, *, batch: int = 500, consumer: str | None = None) -> int:
    """Move one batch of facts from the stream to the database; the number of entries that left it.

    ``client`` answers in bytes and redis-py's default shapes. Several drains may run at once.
    Raises RedisError and Django's database errors: the batch then stays pending and is read again.
    """
    name = consumer or consumer_name()
    try:
        entries = _take(client, name, batch)
    except redis.ResponseError as error:
        if not str(error).startswith("NOGROUP"):
            raise
        _create_group(client)
        entries = _take(client, name, batch)
    if not entries:
        return 0
    facts = _read(client, entries)
    try:
        facts_store(facts, now=timezone.now())
    except (DataError, IntegrityError):
        _store_singly(client, facts)
    _remove(client, [entry_id for entry_id, _ in entries])
    return len(entries)


def consumers_prune(client: redis.Redis) -> None:
    """Forget consumers of processes that ended long ago and left nothing pending."""
    try:
        consumers = client.xinfo_consumers(names.FACTS_STREAM, names.FACTS_GROUP)
    except redis.ResponseError:  # neither stream nor group before the first drain
        return
    for found in consumers:
        if found["pending"] == 0 and found["idle"] > CONSUMER_IDLE_MS:
            client.xgroup_delconsumer(names.FACTS_STREAM, names.FACTS_GROUP, found["name"])


def _create_group(client: redis.Redis) -> None:
    try:
        client.xgroup_create(names.FACTS_STREAM, names.FACTS_GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):  # another drain was first
            raise


def _take(client: redis.Redis, consumer: str, batch: int) -> list[Entry]:
    """What this consumer has taken before and not finished, else what a dead one left, else new."""
    entries = _read_group(client, consumer, batch, "0")
    if not entries:
        claimed = client.xautoclaim(
            names.FACTS_STREAM, names.FACTS_GROUP, consumer, min_idle_time=CLAIM_IDLE_MS, count=batch
        )
        entries = cast("list[Entry]", claimed[1])
    return entries or _read_group(client, consumer, batch, ">")


def _read_group(client: redis.Redis, consumer: str, batch: int, position: str) -> list[Entry]:
    reply = client.xreadgroup(names.FACTS_GROUP, consumer, {names.FACTS_STREAM: position}, count=batch)
    streams = cast("list[tuple[bytes, list[Entry]]]", reply)
    return streams[0][1] if streams else []


def _read(client: redis.Redis, entries: Sequence[Entry]) -> list[Fact]:
    facts = []
    for entry_id, values in entries:
        if not values:  # another drain has stored and deleted it in the meantime
            continue
        data = values.get(names.FACTS_FIELD, b"")
        try:
            facts.append(fact_read(data))
        except ProtocolError as error:
            _bury(client, data, entry_id.decode(), str(error))
    return facts


def _store_singly(client: redis.Redis, facts: Sequence[Fact]) -> None:
    """After a batch that the database refused: store each fact alone and bury those it refuses again."""
    for fact in facts:
        try:
            facts_store([fact], now=timezone.now())
        except (DataError, IntegrityError) as error:
            _bury(client, encode(fact), fact.request_id, type(error).__name__)


def _bury(client: redis.Redis, data: bytes, what: str, reason: str) -> None:
    logger.error("fact %s can't be recorded and is kept in %s: %s", what, DEAD_STREAM, reason)
    client.xadd(
        DEAD_STREAM,
        {names.FACTS_FIELD: data, b"entry": what, b"reason": reason},
        maxlen=DEAD_KEPT,
        approximate=True,
    )


def _remove(client: redis.Redis, entry_ids: Sequence[bytes]) -> None:
    with client.pipeline(transaction=True) as pipeline:
        pipeline.xack(names.FACTS_STREAM, names.FACTS_GROUP, *entry_ids)
        pipeline.xdel(names.FACTS_STREAM, *entry_ids)
        pipeline.execute()
