"""The gateway test harness: waiting for conditions, and gateways with other limits or less capacity."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import redis

from api.gateway.app import Gateway
from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Fact, RequestEnded


async def eventually(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait until the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def with_capacity(gateway: Gateway, **changes: Any) -> Gateway:
    """Return the gateway with other bounds of capacity."""
    return _rebuilt(gateway, capacity=replace(gateway.capacity, **changes))


def with_limits(gateway: Gateway, **changes: Any) -> Gateway:
    """Return the gateway with other limits; its capacity is unchanged."""
    return _rebuilt(gateway, limits=gateway.limits.model_copy(update=changes))


def _rebuilt(gateway: Gateway, **changes: Any) -> Gateway:
    endpoints = gateway.endpoints
    shared: dict[str, Any] = {
        "admission": replace(endpoints.generation.admission, **changes),
        "dispatcher": replace(endpoints.generation.dispatcher, **changes),
        "log_readers": replace(endpoints.generation.log_readers, **changes),
    }
    log_readers = shared["log_readers"]
    rebuilt = replace(
        endpoints,
        generation=replace(endpoints.generation, **shared),
        responses=replace(endpoints.responses, **shared),
        stored_responses=replace(endpoints.stored_responses, log_readers=log_readers),
        streams=replace(endpoints.streams, log_readers=log_readers),
    )
    return replace(gateway, endpoints=rebuilt, **changes)


def detached_count(gateway: Gateway) -> int:
    """Return the number of detached requests that are running."""
    return gateway.endpoints.generation.detached.running_count


async def until_settled(gateway: Gateway) -> None:
    """Wait until no detached request is running and every record has been written."""
    await eventually(lambda: not detached_count(gateway) and not gateway.recorder.backlog)


def facts_of(redis_client: redis.Redis) -> list[Fact]:
    """Return all facts in the stream."""
    entries: Any = redis_client.xrange(names.FACTS_STREAM)
    return [codec.decode_fact(fields[names.FACTS_FIELD]) for _, fields in entries]


async def settled_records(
    gateway: Gateway, redis_client: redis.Redis, endpoint: str | None = None
) -> list[RequestEnded]:
    """Return the records of all requests, or of those to one endpoint, once every request has ended."""
    await until_settled(gateway)
    assert gateway.capacity.requests.in_use == 0, "a request slot was not released"
    records = [fact for fact in facts_of(redis_client) if isinstance(fact, RequestEnded)]
    return [record for record in records if endpoint in (None, record.endpoint)]
