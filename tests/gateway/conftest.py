"""A gateway on real Postgres and Valkey, with a scripted engine client."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import redis
from django.utils import timezone

from api.gateway.settings import Limits
from inference_worker.protocol.messages import RequestEnded
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.gateways import running_gateway
from tests.gateway.harness.outages import database_outage as database_outage
from tests.gateway.harness.outages import own_valkey as own_valkey
from tests.gateway.harness.records import RecordReader, settled_records
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.trainable import trainable as trainable
from tests.snapshots import from_snapshot

if TYPE_CHECKING:  # pytest imports this module before Django is set up
    from api.gateway.app import Gateway

# For tests of the timeouts themselves: a busy machine exceeds them.
SHORT_LIMITS = Limits(
    gateway_max_requests=8,
    max_body_bytes=64 * 1024,
    client_body_timeout_s=0.3,
    queue_timeout_s=0.4,
    first_token_timeout_s=0.4,
    inter_token_timeout_s=0.4,
    total_timeout_s=3.0,
    stream_comment_s=0.1,
)
# Timeouts that even a busy machine doesn't reach.
LONG_LIMITS = Limits(
    gateway_max_requests=8, stream_comment_s=60.0, total_timeout_s=60.0, detached_grace_s=0.2
)
# Only the message of a change ends the use of what is cached.
CACHING_LIMITS = LONG_LIMITS.model_copy(update={"key_cache_s": 3600.0})


@dataclass(frozen=True)
class Keys:
    """API keys of two tenants, and the ids of the tenants. ``inactive`` belongs to a third."""

    acme_id: str
    globex_id: str
    acme: str = field(repr=False)
    globex: str = field(repr=False)
    revoked_key: str = field(repr=False)
    expired_key: str = field(repr=False)
    reader: str = field(repr=False)
    inactive: str = field(repr=False)


def _create_keys() -> Keys:
    from tenants.keys.services import key_create, key_revoke
    from tenants.models import ApiKey
    from tenants.services import tenant_create, tenant_update

    acme = tenant_create(slug="acme", name="Acme", actor="tests")
    globex = tenant_create(slug="globex", name="Globex", actor="tests")
    asleep = tenant_create(slug="asleep", name="Asleep", actor="tests")

    def key(tenant: Any, **options: Any) -> str:
        return str(key_create(tenant=tenant, name="k", actor="tests", **options)[1])

    keys = Keys(
        acme_id=str(acme.id),
        globex_id=str(globex.id),
        acme=key(acme),
        globex=key(globex),
        revoked_key=key(acme),
        expired_key=key(acme),
        reader=key(acme, scopes=["models.read"]),
        inactive=key(asleep),
    )
    key_revoke(key_id=ApiKey.objects.get(prefix=keys.revoked_key.split("-")[2]).id, actor="tests")
    yesterday = timezone.now() - dt.timedelta(1)
    ApiKey.objects.filter(prefix=keys.expired_key.split("-")[2]).update(expires_at=yesterday)
    tenant_update(tenant_id=asleep.id, actor="tests", active=False)
    _register_models(acme.id)
    return keys


def _register_models(acme_id: Any) -> None:
    """Register a public model with an alias, and a private one for the first tenant."""
    from inference_worker.registry.services import alias_set, grant_set, model_register

    model_register(name="tiny", actor="tests")
    alias_set(name="tiny", aliases=["default"], actor="tests")
    model_register(name="org/private", actor="tests", visibility="restricted")
    grant_set(name="org/private", tenant_ids=[acme_id], actor="tests")


@pytest.fixture
def keys(transactional_db: None) -> Keys:
    """Keys of two tenants, committed: the gateway reads them in threads with their own connections."""
    return from_snapshot(_create_keys)


@pytest.fixture
def client() -> ScriptedClient:
    """The gateway's engine client, which plays ``client.scripts``."""
    return ScriptedClient()


@pytest.fixture
def limits() -> Limits:
    """The gateway's limits. Test modules can override this fixture."""
    return LONG_LIMITS


@pytest_asyncio.fixture
async def gateway(
    keys: Keys, redis_url: str, redis_client: redis.Redis, client: ScriptedClient, limits: Limits
) -> AsyncIterator[Gateway]:
    """A running gateway process."""
    async with running_gateway(redis_url, client, limits) as gateway:
        await eventually(lambda: gateway.recorder.facts.is_up)
        yield gateway


@pytest_asyncio.fixture
async def second_gateway(gateway: Gateway, redis_url: str) -> AsyncIterator[Gateway]:
    """Another gateway process on the same servers, with the same limits and its own engine client."""
    async with running_gateway(redis_url, ScriptedClient(), gateway.limits) as second_gateway:
        yield second_gateway


@pytest.fixture
def settled_record(gateway: Gateway, redis_client: redis.Redis) -> RecordReader:
    """A reader of the test's only record, which waits until every request has ended."""

    async def read(endpoint: str | None = None) -> RequestEnded:
        records = await settled_records(gateway, redis_client, endpoint)
        assert len(records) == 1, "a request has exactly one record"
        return records[0]

    return read


@pytest.fixture
def quick_rebuilds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebuild quota counters without waiting for facts of other processes: there are none."""
    from tenants.quotas import rebuild

    monkeypatch.setattr(rebuild, "WRITERS_WAIT_S", 0.0)
