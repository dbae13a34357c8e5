"""A gateway on real Postgres and Valkey, with an engine client that can be told to fail."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import redis
from django.utils import timezone

from api.gateway.stages.limits import Limits
from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Fact, RequestEnded, RequestStarted
from tests.gateway.scripted import ScriptedClient

if TYPE_CHECKING:  # pytest imports this before Django is set up
    from api.gateway.app import Gateway

SECRET = "a secret that is only used by these tests"
QUICK = Limits(
    gateway_max_requests=8,
    max_body_bytes=64 * 1024,
    client_body_timeout_s=0.3,
    queue_timeout_s=0.4,
    first_token_timeout_s=0.4,
    inter_token_timeout_s=0.4,
    total_timeout_s=3.0,
    stream_comment_s=0.1,
)


@dataclass(frozen=True)
class Keys:
    """What clients send; ``acme_id`` and ``globex_id`` are tenants' ids."""

    acme_id: str
    globex_id: str
    acme: str = field(repr=False)
    globex: str = field(repr=False)
    revoked: str = field(repr=False)
    expired: str = field(repr=False)
    reader: str = field(repr=False)
    inactive: str = field(repr=False)


def _make_keys() -> Keys:
    from inference_worker.registry.services import alias_set, grant_set, model_register
    from tenants.models import ApiKey
    from tenants.services import key_create, key_revoke, tenant_create, tenant_update

    acme = tenant_create(slug="acme", name="Acme", actor="tests")
    globex = tenant_create(slug="globex", name="Globex", actor="tests")
    asleep = tenant_create(slug="asleep", name="Asleep", actor="tests")

    def key(tenant: Any, **options: Any) -> str:
        return str(key_create(tenant=tenant, name="k", actor="tests", **options)[1])

    revoked = key(acme)
    key_revoke(key_id=ApiKey.objects.get(prefix=revoked.split("-")[2]).id, actor="tests")
    expired = key(acme)
    ApiKey.objects.filter(prefix=expired.split("-")[2]).update(expires_at=timezone.now() - dt.timedelta(1))
    keys = Keys(
        acme_id=str(acme.id),
        globex_id=str(globex.id),
        acme=key(acme),
        globex=key(globex),
        revoked=revoked,
        expired=expired,
        reader=key(acme, scopes=["models.read"]),
        inactive=key(asleep),
    )
    tenant_update(tenant_id=asleep.id, actor="tests", active=False)
    model_register(name="tiny", actor="tests")
    alias_set(name="tiny", aliases=["default"], actor="tests")
    model_register(name="org/private", actor="tests", visibility="restricted")
    grant_set(name="org/private", tenant_ids=[acme.id], actor="tests")
    return keys


@pytest.fixture
def keys(transactional_db: None) -> Keys:
    """Committed, because the gateway reads in threads of its own."""
    return _make_keys()


@pytest.fixture
def client() -> ScriptedClient:
    """The engine client that plays ``client.scripts``."""
    return ScriptedClient()


@pytest.fixture
def limits() -> Limits:
    """Short limits; files override this fixture."""
    return QUICK


@pytest_asyncio.fixture
async def gateway(
    keys: Keys, redis_url: str, redis_client: redis.Redis, client: ScriptedClient, limits: Limits
) -> AsyncIterator[Gateway]:
    """A started gateway process."""
    from api.gateway.process import gateway_process

    async with gateway_process(redis_url=redis_url, secret=SECRET, limits=limits, client=client) as started:
        async with asyncio.timeout(5):
            while not await started.recorder.is_healthy():
                await asyncio.sleep(0.01)
        yield started


@pytest_asyncio.fixture
async def second(gateway: Gateway, redis_url: str) -> AsyncIterator[Gateway]:
    """Another gateway process on the same servers, with the same limits and an engine client of its own."""
    from api.gateway.process import gateway_process

    limits = gateway.limits
    async with gateway_process(
        redis_url=redis_url, secret=SECRET, limits=limits, client=ScriptedClient()
    ) as started:
        yield started


def facts_of(redis_client: redis.Redis) -> list[Fact]:
    """All facts in the stream."""
    entries: Any = redis_client.xrange(names.FACTS_STREAM)
    return [codec.decode_fact(fields[names.FACTS_FIELD]) for _, fields in entries]


@pytest.fixture
def ended(gateway: Gateway, redis_client: redis.Redis) -> Callable[[], Any]:
    """Awaits and returns the one record of the one request that the test made."""

    async def only() -> RequestEnded:
        async with asyncio.timeout(3):
            while gateway.recorder.backlog:
                await asyncio.sleep(0.005)
        found = [fact for fact in facts_of(redis_client) if isinstance(fact, RequestEnded)]
        assert len(found) == 1, "a request has exactly one record"
        assert gateway.capacity.requests.in_use == 0, "a place was not given back"
        return found[0]

    return only


@pytest.fixture
def started_facts(redis_client: redis.Redis) -> Callable[[], list[RequestStarted]]:
    """The facts of requests that were admitted."""
    return lambda: [fact for fact in facts_of(redis_client) if isinstance(fact, RequestStarted)]
