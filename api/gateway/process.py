"""One gateway process: its components are created, started and stopped together."""

from __future__ import annotations

import gc
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from api.gateway.app import Gateway
from api.gateway.endpoints.generate import Generation
from api.gateway.endpoints.health import HealthEndpoints
from api.gateway.endpoints.models import ModelEndpoints
from api.gateway.endpoints.responses import Responses
from api.gateway.endpoints.stored_responses import StoredResponseEndpoints
from api.gateway.endpoints.streams import StreamEndpoints
from api.gateway.periodic import PeriodicTask
from api.gateway.settings import Limits
from api.gateway.stages.admission import Admission
from api.gateway.stages.capacity import Capacity
from api.gateway.stages.relay import Relay
from api.gateway.stages.reserve import Reservations
from api.gateway.stages.settle import RequestRecorder
from api.gateway.state.caches import GatewayCaches
from api.gateway.state.change_listener import ChangeListener
from api.gateway.state.database import Database
from api.gateway.state.stored_responses import ResponseStore
from api.gateway.streams.detached import DetachedRequests
from api.gateway.streams.event_log import EventLogs
from api.gateway.streams.log_readers import LogReaders
from api.gateway.urls import Endpoints
from inference_worker.client.interface import EngineClient
from inference_worker.client.relay_client import RelayClient
from inference_worker.transport.subscriber import Subscriber

logger = logging.getLogger("cyllm.gateway")

UPDATE_RETRY_INTERVAL_S = 1.0


@asynccontextmanager
async def gateway_process(
    *, redis_url: str, secret: str, limits: Limits, client: EngineClient | None = None
) -> AsyncIterator[Gateway]:
    """Run a gateway. It starts without Redis or Postgres, but is not ready until both are available.

    ``client`` replaces the relay in tests that need faults.
    """
    async with AsyncExitStack() as stack:
        components = await _start_components(stack, redis_url, limits, client)
        # Exempt long-lived objects from garbage collection, which would scan them again and again.
        gc.collect()
        gc.freeze()
        logger.info("gateway %s started", components.gateway_id)
        yield _gateway(components, secret.encode(), limits)
        logger.info("gateway %s stops", components.gateway_id)


@dataclass(frozen=True, slots=True)
class _Components:
    gateway_id: str
    database: Database
    store: ResponseStore
    recorder: RequestRecorder
    caches: GatewayCaches
    client: EngineClient
    logs: EventLogs
    detached: DetachedRequests


class _Startable(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


async def _start(stack: AsyncExitStack, component: _Startable) -> None:
    """Start a component. One that fails to start is stopped as well."""
    stack.push_async_callback(component.stop)
    await component.start()


async def _start_components(
    stack: AsyncExitStack, redis_url: str, limits: Limits, client: EngineClient | None
) -> _Components:
    """Start all components; each is stopped before those that were started earlier."""
    gateway_id = f"gw-{uuid.uuid4().hex[:16]}"
    database = Database(limits.database_timeout_s)
    # Contents of responses have connections of their own, so that keys and models need not wait for them.
    response_database = Database(limits.database_timeout_s)
    stack.push_async_callback(database.close)
    stack.push_async_callback(response_database.close)
    store = ResponseStore(response_database, gateway_id, limits)
    await _start(stack, PeriodicTask("response-updates", store.retry_updates, UPDATE_RETRY_INTERVAL_S))
    subscriber = Subscriber(redis_url)
    await _start(stack, subscriber)
    recorder = RequestRecorder(redis_url, gateway_id)
    await _start(stack, recorder)
    caches = GatewayCaches(database, limits.key_cache_s)
    logs = EventLogs(redis_url, subscriber, gateway_id, limits)
    detached = DetachedRequests(logs, recorder, limits)
    await _start(stack, _change_listener(subscriber, caches, detached))
    if client is None:
        relay_client = client = RelayClient(redis_url, subscriber, gateway_id)
        await _start(stack, relay_client)
    await _start(stack, logs)
    # Stopped before everything that its requests need.
    await _start(stack, detached)
    for warmer in caches.warmers:
        await _start(stack, warmer)
    return _Components(gateway_id, database, store, recorder, caches, client, logs, detached)


def _change_listener(
    subscriber: Subscriber, caches: GatewayCaches, detached: DetachedRequests
) -> ChangeListener:
    return ChangeListener(
        subscriber,
        on_key=caches.principals.invalidate,
        on_tenant=caches.clear,
        on_models=caches.catalogue.clear,
        on_stream=detached.cancel,
        on_gap=caches.clear,
    )


def _gateway(components: _Components, secret: bytes, limits: Limits) -> Gateway:
    client, recorder = components.client, components.recorder
    logs, store = components.logs, components.store
    find_principal, read_catalogue = components.caches.principals.get, components.caches.read_catalogue
    capacity = Capacity.from_limits(limits)
    admission = Admission(limits, secret, client, capacity, find_principal, read_catalogue)
    reservations = Reservations(recorder.facts, components.gateway_id)
    relay = Relay(limits, client, capacity, reservations)
    log_readers = LogReaders(logs, limits, capacity)
    endpoints = Endpoints(
        generation=Generation(admission, relay, components.detached, log_readers),
        responses=Responses(
            limits, admission, reservations, relay, components.detached, logs, log_readers, store
        ),
        stored_responses=StoredResponseEndpoints(store, logs, log_readers, capacity, find_principal),
        streams=StreamEndpoints(logs, log_readers, find_principal),
        models=ModelEndpoints(client, find_principal, read_catalogue),
        health=HealthEndpoints(components.database, recorder, client),
    )
    return Gateway(endpoints, limits, capacity, recorder)
