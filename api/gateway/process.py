"""The parts of one gateway process: made, started and stopped together."""

from __future__ import annotations

import gc
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from api.gateway.app import Gateway
from api.gateway.endpoints.generate import Generation
from api.gateway.endpoints.health import Health
from api.gateway.endpoints.responses import Responses
from api.gateway.endpoints.stored_responses import StoredResponseEndpoints
from api.gateway.endpoints.streams import Streams
from api.gateway.periodic import PeriodicTask
from api.gateway.stages.capacity import BodyBudget, SharedSlots, TenantSemaphore, TenantSlots
from api.gateway.stages.limits import Limits
from api.gateway.stages.settle import RequestRecorder
from api.gateway.state.caches import GatewayCaches
from api.gateway.state.change_listener import ChangeListener
from api.gateway.state.database import Database
from api.gateway.state.stored_responses import ResponseStore
from api.gateway.streams.detached import DetachedRequests
from api.gateway.streams.event_log import EventLogs
from api.gateway.streams.log_readers import LogReaders
from inference_worker.client.interface import EngineClient
from inference_worker.client.relay_client import RelayClient
from inference_worker.transport.subscriber import Subscriber

logger = logging.getLogger("cyllm.gateway")

OWED_INTERVAL_S = 1.0


@asynccontextmanager
async def gateway_process(
    *, redis_url: str, secret: str, limits: Limits, client: EngineClient | None = None
) -> AsyncIterator[Gateway]:
    """A running gateway. Starts without Redis or Postgres as well: it isn't ready until they are there.

    ``client`` stands in for the relay where a test has to make faults.
    """
    gateway_id = f"gw-{uuid.uuid4().hex[:16]}"
    database = Database(limits.database_timeout_s)
    # Beside the one for keys and models, without which nobody is served.
    contents = Database(limits.database_timeout_s)
    store = ResponseStore(contents, gateway_id, limits)
    owed = PeriodicTask("responses-owed", store.update_owed, OWED_INTERVAL_S)
    recorder = RequestRecorder(redis_url, gateway_id)
    cached = GatewayCaches(database, limits.key_cache_s)
    subscriber = Subscriber(redis_url)
    logs = EventLogs(redis_url, subscriber, gateway_id, limits)
    detached = DetachedRequests(logs, recorder, limits)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        stack.push_async_callback(contents.close)
        owed.start()
        stack.push_async_callback(owed.stop)
        await _started(stack, subscriber)
        await _started(stack, recorder)
        await _started(stack, _changes(subscriber, cached, detached))
        if client is None:
            relay = client = RelayClient(redis_url, subscriber, gateway_id)
            await _started(stack, relay)
        await _started(stack, logs)
        # Stopped before all that its requests need.
        await _started(stack, detached)
        for warming in cached.warmings:
            warming.start()
            stack.push_async_callback(warming.stop)
        # What is here now stays: the collector need not go through it again and again under load.
        gc.collect()
        gc.freeze()
        logger.info("gateway %s started", gateway_id)
        readers = SharedSlots(limits.gateway_max_requests, limits.gateway_tenant_share)
        followers = LogReaders(logs, limits, readers, _body_bytes(limits))
        generation = _generation(limits, secret, client, recorder, cached, detached, followers)
        yield Gateway(
            generation,
            Streams(logs, followers, cached.keys.get),
            Responses(generation, store),
            StoredResponseEndpoints(store, logs, followers, cached.keys.get),
            Health(database, recorder, client),
        )
        logger.info("gateway %s stops", gateway_id)


class _Part(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


async def _started(stack: AsyncExitStack, part: _Part) -> None:
    """Start a part; also one that fails at that is stopped with the others."""
    stack.push_async_callback(part.stop)
    await part.start()


def _changes(subscriber: Subscriber, cached: GatewayCaches, detached: DetachedRequests) -> ChangeListener:
    return ChangeListener(
        subscriber,
        on_key=cached.keys.forget,
        on_tenant=cached.forget_all,
        on_models=cached.models.clear,
        on_stream=detached.cancel,
        on_gap=cached.forget_all,
    )


def _body_bytes(limits: Limits) -> BodyBudget:
    held = max(limits.gateway_body_bytes, 2 * limits.max_body_bytes)
    return BodyBudget(held, limits.gateway_tenant_share, limits.max_body_bytes)


def _generation(
    limits: Limits,
    secret: str,
    client: EngineClient,
    recorder: RequestRecorder,
    cached: GatewayCaches,
    detached: DetachedRequests,
    followers: LogReaders,
) -> Generation:
    return Generation(
        limits=limits,
        secret=secret.encode(),
        client=client,
        recorder=recorder,
        places=SharedSlots(limits.gateway_max_requests, limits.gateway_tenant_share),
        readers=TenantSlots(limits.gateway_max_requests),
        tokenizing=TenantSemaphore(),
        bodies=followers.bodies,
        find_principal=cached.keys.get,
        catalogue=cached.catalogue,
        detached=detached,
        followers=followers,
    )
