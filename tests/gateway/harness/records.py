"""Facts and records that gateways have written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import redis

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Fact, RequestEnded, RequestStarted
from tests.gateway.harness.gateways import until_settled

if TYPE_CHECKING:  # conftest.py is imported before Django is set up
    from api.gateway.app import Gateway


def facts_of(redis_client: redis.Redis) -> list[Fact]:
    """Return all facts in the stream."""
    entries: Any = redis_client.xrange(names.FACTS_STREAM)
    return [codec.decode_fact(fields[names.FACTS_FIELD]) for _, fields in entries]


def starts_of(redis_client: redis.Redis) -> list[RequestStarted]:
    """Return the facts of admitted requests."""
    return [fact for fact in facts_of(redis_client) if isinstance(fact, RequestStarted)]


def records_of(redis_client: redis.Redis, endpoint: str | None = None) -> list[RequestEnded]:
    """Return the records of all requests, or of those to one endpoint."""
    records = [fact for fact in facts_of(redis_client) if isinstance(fact, RequestEnded)]
    return [record for record in records if endpoint in (None, record.endpoint)]


async def settled_records(
    gateway: Gateway, redis_client: redis.Redis, endpoint: str | None = None
) -> list[RequestEnded]:
    """Return the records of all requests, or of those to one endpoint, once every request has ended."""
    await until_settled(gateway)
    assert gateway.capacity.requests.in_use == 0, "a request slot was not released"
    return records_of(redis_client, endpoint)


class RecordReader(Protocol):
    """Reads the record of the only request, or of the only request to one endpoint."""

    async def __call__(self, endpoint: str | None = None) -> RequestEnded: ...
