"""Redis or Postgres away: 503 in OpenAI's format, not ready, no record lost, and well again by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import psycopg.sql
import pytest
import redis
from django.db import connection

from api.gateway.app import Gateway
from deploy.local.servers.ports import free_port
from deploy.local.servers.valkey import EmbeddedValkey
from inference_worker.protocol.messages import Outcome, RequestEnded
from tests.gateway.conftest import QUICK, SECRET, Keys, facts_of
from tests.gateway.driver import CHAT, call, chat, visit
from tests.gateway.scripted import HANG, ScriptedClient, accepted, finished
from tests.stacks import Service


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[tuple[Service, str]]:
    """A server that a test may stop, with its address."""
    embedded = EmbeddedValkey(data_dir=tmp_path, port=free_port(), password="own", fsync="no")
    service = Service(embedded.program(), embedded.is_ready, tmp_path / "valkey.log")
    service.start()
    yield service, embedded.url
    service.stop()


@asynccontextmanager
async def gateway_on(redis_url: str, client: ScriptedClient) -> AsyncIterator[Gateway]:
    from api.gateway.process import gateway_process

    async with gateway_process(redis_url=redis_url, secret=SECRET, limits=QUICK, client=client) as gateway:
        yield gateway


async def seconds_until(condition: Callable[[], Awaitable[bool]], limit_s: float) -> float:
    """How long it took until the condition held."""
    begun = time.monotonic()
    while not await condition():
        assert time.monotonic() - begun < limit_s, f"not within {limit_s} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


def answered(gateway: Gateway, keys: Keys, client: ScriptedClient) -> Callable[[], Awaitable[bool]]:
    """Whether a chat request succeeds now."""

    async def ask() -> bool:
        client.scripts = [[accepted(), finished(b"{}")]]
        return (await chat(gateway, keys.acme)).status == 200

    return ask


@pytest.mark.criterion("6.9")
async def test_without_redis_nothing_is_dispatched_and_it_heals_within_five_seconds(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]
) -> None:
    service, url = own_valkey
    async with gateway_on(url, client) as gateway:
        works = answered(gateway, keys, client)
        await seconds_until(works, 5)
        service.stop()
        dispatched = len(client.calls)
        reply = await chat(gateway, keys.acme)
        assert (reply.status, reply.error["code"]) == (503, "redis_unavailable")
        assert reply.error["type"] == "server_error"
        assert len(client.calls) == dispatched, "dispatched without a durable start"
        service.start()
        assert await seconds_until(works, 5) < 5


@pytest.mark.criterion("5.2")
async def test_a_request_that_ends_while_redis_is_away_is_recorded_when_it_is_back(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]
) -> None:
    service, url = own_valkey
    async with gateway_on(url, client) as gateway:
        await seconds_until(answered(gateway, keys, client), 5)
        client.scripts = [[accepted(), HANG]]
        begun = visit(gateway, "POST", "/v1/chat/completions", key=keys.acme, body=CHAT)
        await asyncio.sleep(0.1)
        service.stop()
        begun.leave()
        await begun.task
        await asyncio.sleep(0.1)
        assert gateway.recorder.backlog == 1
        service.start()

        async def written() -> bool:
            return gateway.recorder.backlog == 0

        assert await seconds_until(written, 5) < 5
    with redis.Redis.from_url(url) as direct:
        ended = [fact for fact in facts_of(direct) if isinstance(fact, RequestEnded)]
    cancelled = [fact for fact in ended if fact.outcome == Outcome.CANCELLED]
    assert [fact.error_code for fact in cancelled] == ["client_disconnected"]


async def test_a_gateway_starts_without_redis_and_is_ready_once_it_is_there(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]
) -> None:
    service, url = own_valkey
    service.stop()
    async with gateway_on(url, client) as gateway:
        reply = await call(gateway, "GET", "/health/ready")
        assert (reply.status, reply.document["components"]["redis"]["status"]) == (503, "down")
        assert (await call(gateway, "GET", "/health/live")).status == 200
        service.start()

        async def ready() -> bool:
            return (await call(gateway, "GET", "/health/ready")).status == 200

        assert await seconds_until(ready, 5) < 5


class DatabaseDoor:
    """Lets connections to the test database in, or ends them all and lets none in."""

    def __init__(self, admin: psycopg.Connection[Any], name: str) -> None:
        self._admin, self._name = admin, name

    def _allow(self, allowed: bool) -> None:
        command = psycopg.sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        name = psycopg.sql.Identifier(self._name)
        self._admin.execute(command.format(name, psycopg.sql.Literal(allowed)))

    def shut(self) -> None:
        self._allow(False)
        self._admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._name]
        )

    def open(self) -> None:
        self._allow(True)


@pytest.fixture
def door(keys: Keys) -> Iterator[DatabaseDoor]:
    """The real server refuses, as after a failover or with all its connections taken."""
    settings: dict[str, Any] = connection.get_connection_params()
    connection.close()
    own = {key: settings[key] for key in ("host", "port", "user", "password") if settings.get(key)}
    with psycopg.connect(dbname="postgres", autocommit=True, **own) as admin:
        made = DatabaseDoor(admin, settings["dbname"])
        yield made
        made.open()


@pytest.mark.criterion("6.9")
@pytest.mark.case("serving.9")
async def test_without_the_database_a_key_is_not_wrong_but_the_service_unavailable(
    gateway: Gateway, keys: Keys, client: ScriptedClient, door: DatabaseDoor
) -> None:
    works = answered(gateway, keys, client)
    assert await works()
    door.shut()
    await asyncio.sleep(QUICK.key_cache_s)
    reply = await chat(gateway, keys.acme)
    ready = await call(gateway, "GET", "/health/ready")
    door.open()
    assert (reply.status, reply.error["code"]) == (503, "database_unavailable")
    assert (ready.status, ready.document["components"]["database"]["status"]) == (503, "down")
    assert await seconds_until(works, 5) < 5
