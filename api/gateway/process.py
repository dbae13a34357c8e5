"""One gateway process: starts its components, and wires the endpoints to them."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from django.conf import settings

from api.gateway.app import Gateway
from api.gateway.capacity.process_capacity import Capacity
from api.gateway.components import Components, start, start_components
from api.gateway.endpoints.artifacts import ArtifactEndpoint
from api.gateway.endpoints.compaction import CompactionEndpoint
from api.gateway.endpoints.document import DocumentEndpoint
from api.gateway.endpoints.files import FileEndpoints
from api.gateway.endpoints.fine_tuning import FineTuningEndpoints
from api.gateway.endpoints.generate import EngineEndpoints
from api.gateway.endpoints.health import HealthEndpoints, HealthSources
from api.gateway.endpoints.input_tokens import InputTokenEndpoint
from api.gateway.endpoints.models import ModelEndpoints
from api.gateway.endpoints.responses import ResponseEndpoints
from api.gateway.endpoints.stored_responses import StoredResponseEndpoints
from api.gateway.endpoints.streams import StreamEndpoints
from api.gateway.periodic import PeriodicTask
from api.gateway.settings import Limits
from api.gateway.stages.admission.pipeline import Admission
from api.gateway.stages.quota.reserve import Quota
from api.gateway.stages.recording.record_start import StartRecorder
from api.gateway.stages.relay.relay import Relay
from api.gateway.state.heap_trimming import CHECK_INTERVAL_S, HeapTrimmer
from api.gateway.streams.event_logs.log_readers import LogReaders
from api.gateway.streams.job_events.job_readers import JobEventReaders
from api.gateway.urls.endpoints import Endpoints
from api.gateway.urls.table import URLS
from inference_worker.client.interface import EngineClient
from inference_worker.registry.adapter_urls import AdapterUrls
from tenants.files.disk import Disk

logger = logging.getLogger("cyllm.gateway")


@asynccontextmanager
async def gateway_process(
    *, redis_url: str, secret: str, limits: Limits, client: EngineClient | None = None
) -> AsyncIterator[Gateway]:
    """Run a gateway. It starts without Redis or Postgres, but is not ready until both are available.

    ``client`` replaces the relay in tests that need faults.
    """
    async with AsyncExitStack() as stack:
        components = await start_components(stack, redis_url, limits, client)
        # Exempt long-lived objects from garbage collection, which would scan them again and again.
        gc.collect()
        gc.freeze()
        logger.info("gateway %s started", components.gateway_id)
        gateway = _gateway(components, secret.encode(), limits)
        trimmer = HeapTrimmer(gateway.capacity.bodies)
        await start(stack, PeriodicTask("heap-trimming", trimmer.check, CHECK_INTERVAL_S))
        yield gateway
        logger.info("gateway %s stops", components.gateway_id)


def _gateway(components: Components, secret: bytes, limits: Limits) -> Gateway:
    storage, coordination = components.storage, components.coordination
    client, logs, detached_requests = components.client, components.logs, components.detached_requests
    recorder, find_principal = coordination.recorder, components.caches.principals.get
    read_catalogue = components.caches.read_catalogue
    capacity = Capacity.from_limits(limits)
    old_secrets = tuple(key.encode() for key in settings.SECRET_KEY_FALLBACKS)
    adapter_urls = AdapterUrls(limits.internal_url, secret, old_secrets)
    quota = Quota(coordination.counters, limits)
    admission = Admission(limits, secret, client, capacity, read_catalogue, adapter_urls, quota)
    start_recorder = StartRecorder(recorder.facts, components.gateway_id)
    relay = Relay(limits, client, capacity, start_recorder)
    log_readers = LogReaders(logs, limits, capacity, start_recorder)
    job_readers = JobEventReaders(components.job_feeds, limits, capacity, start_recorder, find_principal)
    disk = Disk(settings.FILE_INCOMING_DIR, limits.min_free_disk_bytes)
    health_sources = HealthSources(storage.database, coordination.presence, client, read_catalogue, disk)
    endpoints = Endpoints(
        engine=EngineEndpoints(admission, relay, detached_requests, log_readers),
        responses=ResponseEndpoints(
            limits, admission, start_recorder, relay, detached_requests, logs, log_readers, storage.responses
        ),
        input_tokens=InputTokenEndpoint(admission, relay, storage.responses),
        compaction=CompactionEndpoint(admission, relay, storage.responses),
        stored_responses=StoredResponseEndpoints(storage.responses, logs, log_readers, capacity),
        streams=StreamEndpoints(logs, log_readers),
        models=ModelEndpoints(client, read_catalogue, storage.objects),
        artifacts=ArtifactEndpoint(limits, adapter_urls, storage.objects),
        files=FileEndpoints(limits, capacity, storage.files, storage.uploads, quota),
        fine_tuning=FineTuningEndpoints(
            storage.jobs, job_readers, client, read_catalogue, limits, capacity, quota
        ),
        health=HealthEndpoints(health_sources),
        document=DocumentEndpoint(URLS.routes),
    )
    return Gateway(endpoints, limits, capacity, recorder, find_principal)
