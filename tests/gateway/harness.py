"""The gateway test harness: running gateways, changed limits and capacity, conditions, recorded facts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import redis

from api.gateway.settings import Limits
from inference_worker.client.interface import EngineClient
from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Fact, RequestEnded, RequestStarted

if TYPE_CHECKING:  # conftest.py is imported before Django is set up
    from api.gateway.app import Gateway

SECRET = "a secret that is only used by these tests"


@asynccontextmanager
async def running_gateway(redis_url: str, client: EngineClient, limits: Limits) -> AsyncIterator[Gateway]:
    """Run a gateway process."""
    from api.gateway.process import gateway_process

    async with gateway_process(redis_url=redis_url, secret=SECRET, limits=limits, client=client) as gateway:
        yield gateway


async def eventually(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 5.0) -> None:
    """Wait until the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not await _holds(condition):
            await asyncio.sleep(0.005)


async def _holds(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    result = condition()
    return result if isinstance(result, bool) else await result


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
        "relay": replace(endpoints.generation.relay, **changes),
        "log_readers": replace(endpoints.generation.log_readers, **changes),
    }
    gateway = replace(gateway, **changes)
    log_readers = shared["log_readers"]
    rebuilt = replace(
        endpoints,
        generation=replace(endpoints.generation, **shared),
        responses=replace(endpoints.responses, **shared, limits=gateway.limits),
        stored_responses=replace(
            endpoints.stored_responses, log_readers=log_readers, capacity=gateway.capacity
        ),
        streams=replace(endpoints.streams, log_readers=log_readers),
    )
    return replace(gateway, endpoints=rebuilt)


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
