"""Fixtures of the tests of quotas: a tenant with a key, and its counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

if TYPE_CHECKING:  # Django is not yet set up when pytest imports this module
    from tenants.models import Tenant
    from tests.quotas.world import World


@pytest.fixture
def quick_rebuilds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rebuilds not wait for other writers."""
    from tenants.ledger import late_facts
    from tenants.quotas import rebuild

    monkeypatch.setattr(rebuild, "WRITERS_WAIT_S", 0.0)
    # Redis's data are as young as the facts of a test.
    monkeypatch.setattr(late_facts, "CLOCK_SKEW_S", -3600.0)


@pytest.fixture
def tenant() -> Tenant:
    """The tenant ``acme``."""
    from tenants.services import tenant_create

    return tenant_create(slug="acme", name="Acme", actor="tests")


@pytest.fixture
def key_id(tenant: Tenant) -> str:
    """The id of a key of the tenant."""
    from tenants.keys.services import key_create

    return str(key_create(tenant=tenant, name="k", actor="tests")[0].id)


@pytest.fixture
def world(redis_client: redis.Redis, tenant: Tenant, key_id: str) -> World:
    """The tenant with its counters and facts."""
    from tests.quotas.world import World

    return World(redis_client, tenant, key_id)
