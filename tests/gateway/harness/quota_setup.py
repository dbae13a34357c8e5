"""Set-up of quotas in tests of the gateway: limits, prices, and the counters in Redis."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import redis

from tests.gateway.harness.scripts import METER

if TYPE_CHECKING:  # pytest imports this module before Django is set up
    from tenants.quotas.amounts import Amounts

# At these prices, the tests' meter of 7 + 3 tokens costs 7 + 30 = 37 micro-dollars.
PROMPT_PRICE, COMPLETION_PRICE = 1_000_000, 10_000_000
METER_COST = METER.prompt_tokens + 10 * METER.completion_tokens
METER_TOKENS = METER.prompt_tokens + METER.completion_tokens


def limit_tenant(tenant_id: str, **limits: Any) -> None:
    """Set limits of a tenant, and tell the gateways."""
    from tenants.services import tenant_update

    tenant_update(tenant_id=uuid.UUID(tenant_id), actor="tests", **limits)


def limit_key(key: str, **limits: Any) -> None:
    """Set limits of a key, given as the client sends it, and tell the gateways."""
    from tenants.keys.services import key_update
    from tenants.models import ApiKey

    key_update(key_id=key_id_of(key), actor="tests", **limits)
    assert ApiKey.objects.filter(id=key_id_of(key)).exists()


def key_id_of(key: str) -> uuid.UUID:
    """Return the id of a key, given as the client sends it."""
    from tenants.models import ApiKey

    return ApiKey.objects.get(prefix=key.split("-")[2]).id


def another_key(tenant_id: str) -> str:
    """Create another key of a tenant."""
    from tenants.keys.services import key_create
    from tenants.models import Tenant

    return key_create(tenant=Tenant.objects.get(id=tenant_id), name="another", actor="tests")[1]


def set_prices(prompt: int = PROMPT_PRICE, completion: int = COMPLETION_PRICE) -> None:
    """Set the prices of the public model, in micro-dollars per million tokens."""
    from inference_worker.registry.models import ServedModel

    ServedModel.objects.filter(name="tiny").update(prompt_price=prompt, completion_price=completion)


def counters_of(client: redis.Redis, tenant_id: str) -> dict[str, int]:
    """Return the tenant's counters: the window's totals, and the spend by day and month."""
    from tenants.quotas.counters import names

    fields: Any = client.hgetall(names.tenant_counters(tenant_id))
    return {
        name.decode(): int(value)
        for name, value in fields.items()
        if name in (b"requests", b"tokens") or (name[:1] in (b"d", b"m") and name[1:].isdigit())
    }


def spend_of(client: redis.Redis, tenant_id: str) -> int:
    """Return the tenant's spend of the month in Redis, open reservations included."""
    counters = counters_of(client, tenant_id)
    return sum(value for name, value in counters.items() if name[0] == "m")


def open_reservations(client: redis.Redis, tenant_id: str) -> int:
    """Return the number of reservations that are not settled."""
    from tenants.quotas.counters import names

    return int(client.hlen(names.reservations(tenant_id)))


def amounts(**values: int) -> Amounts:
    """Return amounts of a claim."""
    from tenants.quotas.amounts import Amounts

    return Amounts(**values)
