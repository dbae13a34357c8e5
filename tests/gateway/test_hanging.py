"""Redis or Postgres that takes connections and never answers: 503 within its limit, then well again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from api.gateway.app import Gateway
from api.gateway.stages.limits import Limits
from api.gateway.stages.reserve import WRITE_TIMEOUT_S
from deploy.local.processes.supervisor import Supervisor
from inference_worker.protocol.messages import Outcome, RequestEnded
from tests.gateway.conftest import QUICK, Keys, facts_of
from tests.gateway.driver import Reply, call, chat
from tests.gateway.resumable import script, whole
from tests.gateway.scripted import ScriptedClient
from tests.gateway.test_outages import answered, gateway_on, own_valkey, seconds_until
from tests.stacks import Service

__all__ = ["own_valkey"]
DATABASE_TIMEOUT_S = 0.6


@pytest.fixture
def limits() -> Limits:
    """A short one for the database."""
    return QUICK.model_copy(update={"database_timeout_s": DATABASE_TIMEOUT_S})


@contextmanager
def _hanging(pid: int) -> Iterator[None]:
    """A process and its children stand still, sockets open, as on a machine that swaps or a dead disk."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in family:
            process.send_signal(signal.SIGCONT)


async def _timed(gateway: Gateway, key: str) -> tuple[Reply, float]:
    begun = time.monotonic()
    reply = await chat(gateway, key)
    return reply, time.monotonic() - begun


@pytest.mark.criterion("6.9")
async def test_a_database_that_hangs_gives_503_within_its_limit_to_everyone_and_heals(
    gateway: Gateway, keys: Keys, client: ScriptedClient, test_servers: Supervisor
) -> None:
    works = answered(gateway, keys, client)
    assert await works()
    await asyncio.sleep(QUICK.key_cache_s)
    pid = test_servers.pid("postgres")
    assert pid is not None
    with _hanging(pid):
        # More than there are threads for it, so some wait for a thread and not for the database.
        answers = await asyncio.gather(*(_timed(gateway, keys.acme) for _ in range(12)))
        later, took_s = await _timed(gateway, keys.globex)
        ready = await call(gateway, "GET", "/health/ready")
        live = await call(gateway, "GET", "/health/live")
    for reply, seconds in (*answers, (later, took_s)):
        assert (reply.status, reply.error["code"]) == (503, "database_unavailable")
        assert reply.headers["retry-after"]
        assert seconds < 2 * DATABASE_TIMEOUT_S + 1.5
    assert (ready.status, ready.document["components"]["database"]["status"]) == (503, "down")
    assert live.status == 200
    assert await seconds_until(works, 5) < 5
    assert gateway.capacity.requests.in_use == 0


@pytest.mark.criterion("6.9")
async def test_a_redis_that_hangs_gives_503_within_its_limit_dispatches_nothing_and_heals(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]
) -> None:
    service, url = own_valkey
    async with gateway_on(url, client) as gateway:
        works = answered(gateway, keys, client)
        await seconds_until(works, 5)
        dispatched = len(client.calls)
        assert service.process is not None
        with _hanging(service.process.pid):
            answers = await asyncio.gather(*(_timed(gateway, keys.acme) for _ in range(6)))
            ready = await call(gateway, "GET", "/health/ready")
        assert len(client.calls) == dispatched, "dispatched without a durable start"
        for reply, seconds in answers:
            assert (reply.status, reply.error["code"]) == (503, "redis_unavailable")
            assert seconds < WRITE_TIMEOUT_S + 2
        assert (ready.status, ready.document["components"]["redis"]["status"]) == (503, "down")
        assert await seconds_until(works, 5) < 5
        # Those that were refused are recorded once Redis is back: none is lost, none is there twice.
        await seconds_until(lambda: _written(gateway), 5)
        refused = _refused(url)
    assert len(refused) == len({fact.request_id for fact in refused}) == 6
    assert {fact.outcome for fact in refused} == {Outcome.REFUSED}


async def _written(gateway: Gateway) -> bool:
    return gateway.recorder.backlog == 0


def _refused(url: str) -> list[RequestEnded]:
    import redis

    with redis.Redis.from_url(url) as direct:
        found = [fact for fact in facts_of(direct) if isinstance(fact, RequestEnded)]
    return [fact for fact in found if fact.error_code == "redis_unavailable"]


async def test_a_stream_that_redis_made_too_late_does_not_count_as_running(
    keys: Keys, client: ScriptedClient, own_valkey: tuple[Service, str]
) -> None:
    import redis

    service, url = own_valkey
    async with gateway_on(url, client) as gateway:
        await seconds_until(answered(gateway, keys, client), 5)
        client.scripts = [script()]
        assert (await whole(gateway, keys.acme)).status == 200
        assert service.process is not None
        with _hanging(service.process.pid):
            refused = await whole(gateway, keys.acme)
        assert (refused.status, refused.error["code"]) == (503, "redis_unavailable")
        with redis.Redis.from_url(url) as direct:

            async def ended() -> bool:
                states = [direct.hget(key, "state") for key in direct.scan_iter("cyllm:stream:*:meta")]
                return sorted(map(str, states)) == ["b'completed'", "b'failed'"]

            assert await seconds_until(ended, 8) < 8
