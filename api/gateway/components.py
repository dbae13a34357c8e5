"""The components of a gateway process: storage, coordination through Redis, and what builds on them."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

from api.gateway.periodic import PeriodicTask
from api.gateway.settings import Limits
from api.gateway.stages.recording.record_end import RequestRecorder
from api.gateway.state.caches import GatewayCaches
from api.gateway.state.change_listener import ChangeListener
from api.gateway.state.database import Database
from api.gateway.state.file_uploads import FileUploads
from api.gateway.state.files import FileStore
from api.gateway.state.fine_tuning import FineTuningStore
from api.gateway.state.object_storage import ObjectStorage
from api.gateway.state.presence import GatewayPresence
from api.gateway.state.quota_rebuild import QuotaRebuilder
from api.gateway.state.stored_responses import ResponseStore
from api.gateway.streams.event_logs.detached_requests import DetachedRequests
from api.gateway.streams.event_logs.event_log import EventLogs
from api.gateway.streams.job_events.job_feeds import JobFeeds
from inference_worker.client.interface import EngineClient
from inference_worker.client.relay_client import RelayClient
from inference_worker.transport.subscriber import Subscriber
from tenants.quotas.counters.quota_counters import QuotaCounters

UPDATE_RETRY_INTERVAL_S = 1.0
FILE_SWEEP_INTERVAL_S = 300.0


@dataclass(frozen=True, slots=True)
class Storage:
    """Postgres and the file storage."""

    database: Database
    responses: ResponseStore
    objects: ObjectStorage
    files: FileStore
    uploads: FileUploads
    jobs: FineTuningStore


@dataclass(frozen=True, slots=True)
class Coordination:
    """Redis: notifications, facts about requests, the presence of gateways, quota counters."""

    subscriber: Subscriber
    recorder: RequestRecorder
    presence: GatewayPresence
    counters: QuotaCounters


@dataclass(frozen=True, slots=True)
class Components:
    """All components of a process."""

    gateway_id: str
    storage: Storage
    coordination: Coordination
    caches: GatewayCaches
    client: EngineClient
    logs: EventLogs
    detached_requests: DetachedRequests
    job_feeds: JobFeeds


class Startable(Protocol):
    """A component that works in the background."""

    async def start(self) -> None:
        """Begin to work."""
        ...

    async def stop(self) -> None:
        """End all work."""
        ...


async def start(stack: AsyncExitStack, component: Startable) -> None:
    """Start a component. One that fails to start is stopped as well."""
    stack.push_async_callback(component.stop)
    await component.start()


async def start_components(
    stack: AsyncExitStack, redis_url: str, limits: Limits, client: EngineClient | None
) -> Components:
    """Start all components; each is stopped before those that were started earlier.

    ``client``: in place of a relay client.
    """
    gateway_id = f"gw-{uuid.uuid4().hex[:16]}"
    storage = await _start_storage(stack, gateway_id, limits)
    coordination = await _start_coordination(stack, gateway_id, redis_url)
    subscriber = coordination.subscriber
    caches = GatewayCaches(storage.database, limits.key_cache_s)
    logs = EventLogs(redis_url, subscriber, gateway_id, limits)
    detached_requests = DetachedRequests(logs, coordination.recorder, limits)
    job_feeds = JobFeeds(storage.jobs, lambda: subscriber.is_up)
    await start(stack, _change_listener(subscriber, caches, detached_requests, job_feeds))
    if client is None:
        relay_client = client = RelayClient(redis_url, subscriber, gateway_id)
        await start(stack, relay_client)
    await start(stack, logs)
    # Stopped before everything that its requests need.
    await start(stack, detached_requests)
    for warmer in caches.warmers:
        await start(stack, warmer)
    return Components(
        gateway_id=gateway_id,
        storage=storage,
        coordination=coordination,
        caches=caches,
        client=client,
        logs=logs,
        detached_requests=detached_requests,
        job_feeds=job_feeds,
    )


async def _start_storage(stack: AsyncExitStack, gateway_id: str, limits: Limits) -> Storage:
    database = Database(limits.database_timeout_s)
    # Contents of responses have connections of their own, so that keys and models need not wait for them.
    content_database = Database(limits.database_timeout_s)
    stack.push_async_callback(database.close)
    stack.push_async_callback(content_database.close)
    responses = ResponseStore(content_database, gateway_id, limits)
    await start(stack, PeriodicTask("response-updates", responses.retry_updates, UPDATE_RETRY_INTERVAL_S))
    objects = ObjectStorage(content_database)
    stack.push_async_callback(objects.threads.close)
    uploads = FileUploads(objects, limits)
    await start(stack, PeriodicTask("file-sweep", uploads.sweep, FILE_SWEEP_INTERVAL_S))
    jobs = FineTuningStore(content_database)
    return Storage(database, responses, objects, FileStore(objects), uploads, jobs)


async def _start_coordination(stack: AsyncExitStack, gateway_id: str, redis_url: str) -> Coordination:
    subscriber = Subscriber(redis_url)
    await start(stack, subscriber)
    recorder = RequestRecorder(redis_url, gateway_id)
    # Stopped after the recorder, which writes its last facts while the gateway still counts as alive.
    presence = GatewayPresence(redis_url, gateway_id, lambda: recorder.backlog)
    await start(stack, presence)
    await start(stack, recorder)
    rebuilder = QuotaRebuilder(redis_url)
    stack.push_async_callback(rebuilder.close)
    counters = QuotaCounters(redis_url, rebuilder.rebuild)
    await start(stack, counters)
    return Coordination(subscriber, recorder, presence, counters)


def _change_listener(
    subscriber: Subscriber, caches: GatewayCaches, detached_requests: DetachedRequests, job_feeds: JobFeeds
) -> ChangeListener:
    def recover() -> None:
        caches.clear()
        job_feeds.wake_all()

    return ChangeListener(
        subscriber,
        on_key=caches.principals.invalidate,
        on_tenant=caches.clear,
        on_models=caches.catalogue.clear,
        on_stream=detached_requests.cancel,
        on_job=job_feeds.wake,
        on_gap=recover,
    )
