"""The health endpoint names each component that is down, and is right again once it is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis
from django.db import connection

from api.gateway.app import Gateway
from api.gateway.endpoints.health import CACHE_S, MAX_FACT_AGE_S
from inference_worker.protocol.messages import WorkerState
from inference_worker.protocol.names import FACTS_FIELD, FACTS_STREAM
from tenants.files.disk import Disk
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call
from tests.gateway.harness.gateways import running_gateway
from tests.gateway.harness.outages import DatabaseOutage
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.threads import in_thread
from tests.stacks import Service

pytestmark = pytest.mark.criterion("4.3")
BOTH_MODELS = ("tiny", "org/private")


class Probe:
    """Health checks of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def is_as(self, status: int, faults: dict[str, str]) -> None:
        """Wait until the health endpoint has this status and these components that are not up."""

        async def matches() -> bool:
            await asyncio.sleep(CACHE_S / 5)
            reply = await call(self._gateway, "GET", "/health")
            components = reply.document["components"].items()
            states = {name: part["status"] for name, part in components if part["status"] != "up"}
            return (reply.status, states) == (status, faults)

        await eventually(matches)


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest_asyncio.fixture
async def probe(gateway: Gateway, client: ScriptedClient) -> AsyncIterator[Probe]:
    """A probe of a gateway that is healthy before and after the test."""
    client.models = BOTH_MODELS
    probe = Probe(gateway)
    await probe.is_as(200, {})
    yield probe
    client.models, client.state = BOTH_MODELS, WorkerState.READY
    await probe.is_as(200, {})


async def test_without_the_database(probe: Probe, database_outage: DatabaseOutage) -> None:
    with database_outage():
        await probe.is_as(503, {"database": "down", "models": "unknown"})


async def test_without_redis(keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]) -> None:
    service, url = own_valkey
    client.models = BOTH_MODELS
    async with running_gateway(url, client, LONG_LIMITS) as gateway:
        probe = Probe(gateway)
        await probe.is_as(200, {})
        service.stop()
        await probe.is_as(503, {"redis": "down", "queue": "unknown"})
        service.start()
        await probe.is_as(200, {})
        with redis.Redis.from_url(url) as server:
            server.config_set("maxmemory", 1)  # it still serves reads
            await probe.is_as(503, {"redis": "down", "queue": "unknown"})
            server.config_set("maxmemory", 0)
        await probe.is_as(200, {})


async def test_without_a_ready_worker(probe: Probe, client: ScriptedClient) -> None:
    client.state = WorkerState.LOADING
    await probe.is_as(503, {"workers": "down", "models": "down"})


async def test_without_a_worker_for_one_model_others_are_served(probe: Probe, client: ScriptedClient) -> None:
    client.models = ("tiny",)
    await probe.is_as(200, {"models": "degraded"})


async def test_with_a_schema_of_another_version(probe: Probe) -> None:
    await in_thread(lambda: _execute("ALTER TABLE registry_servedmodel RENAME TO hidden"))
    try:
        await probe.is_as(200, {"models": "unknown"})
    finally:
        await in_thread(lambda: _execute("ALTER TABLE hidden RENAME TO registry_servedmodel"))


async def test_facts_that_nothing_stores(probe: Probe, redis_client: redis.Redis) -> None:
    written_ms = int((time.time() - MAX_FACT_AGE_S - 1) * 1000)
    redis_client.delete(FACTS_STREAM)
    entry = redis_client.xadd(FACTS_STREAM, {FACTS_FIELD: b""}, id=f"{written_ms}-0")
    await probe.is_as(200, {"queue": "down"})
    redis_client.xdel(FACTS_STREAM, entry)


async def test_a_disk_without_room(keys: Keys, client: ScriptedClient, redis_url: str) -> None:
    client.models = BOTH_MODELS
    limits = LONG_LIMITS.model_copy(update={"min_free_disk_bytes": 2**60})
    async with running_gateway(redis_url, client, limits) as gateway:
        await Probe(gateway).is_as(200, {"disk": "down"})


def test_the_folder_of_a_disk_need_not_exist_yet(tmp_path: Path) -> None:
    assert Disk(tmp_path / "not" / "yet", 1).has_room()
