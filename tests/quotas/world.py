"""A tenant with its counters in Redis and its facts for the ledger."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import redis

from inference_worker.protocol.messages import Meter, RequestEnded, RequestStarted
from inference_worker.protocol.prices import Prices
from inference_worker.transport.incarnation import incarnation_read
from tenants.ledger.drain import ledger_drain
from tenants.limits.columns import NO_LIMITS, UsageLimits
from tenants.models import Tenant
from tenants.quotas.amounts import decision, limit_arguments, utc_day
from tenants.quotas.counters import names, scripts
from tests.tenants.facts import end_fact, meter_fact, start_fact

PRICES = Prices(prompt=1_000_000, cached=0, completion=2_000_000)
METER = Meter(prompt_tokens=20, completion_tokens=15, cached_tokens=10, total_s=0.5)
COST = 10 + 30
RESERVED = 500


class World:
    """A tenant with a key, its counters in Redis, and facts for the ledger."""

    def __init__(self, client: redis.Redis, tenant: Tenant, key_id: str) -> None:
        self.client, self.tenant, self.key_id = client, tenant, key_id
        self.tenant_id = str(tenant.id)
        self.now = time.time()

    def reserve(
        self,
        request_id: str,
        *,
        lease_ms: int = 10_000,
        tokens: int = 100,
        limits: UsageLimits = NO_LIMITS,
    ) -> Any:
        incarnation, _ = incarnation_read(self.client)
        self.client.zadd(names.TENANTS, {self.tenant_id: int(self.now)})
        keys = names.script_keys(self.tenant_id, self.key_id)
        arguments = (request_id, utc_day(self.now), 1, tokens, RESERVED, 0, lease_ms)
        values = [*limit_arguments(limits), *limit_arguments(NO_LIMITS)]
        reply: Any = self.client.eval(
            scripts.RESERVE.text, len(keys), *keys, incarnation, *arguments, *values
        )
        return decision(reply)

    def started(self, request_id: str) -> RequestStarted:
        return msgspec.structs.replace(
            start_fact(request_id, tenant_id=self.tenant_id, key_id=self.key_id, prices=PRICES),
            started_at=self.now,
            reserved_tokens=100,
            reserved_microusd=RESERVED,
        )

    def ended(self, request_id: str) -> RequestEnded:
        return msgspec.structs.replace(
            end_fact(request_id), tenant_id=self.tenant_id, key_id=self.key_id, started_at=self.now
        )

    def settled_facts(self, request_id: str) -> list[Any]:
        meter = msgspec.structs.replace(meter_fact(request_id), meter=METER, at=self.now)
        return [self.started(request_id), meter, self.ended(request_id)]

    def drain(self) -> None:
        while ledger_drain(self.client):
            pass

    def counters(self) -> dict[str, str]:
        fields: Any = self.client.hgetall(names.tenant_counters(self.tenant_id))
        return {name.decode(): value.decode() for name, value in fields.items()}

    @property
    def spend(self) -> int:
        return int(self.counters().get(f"m{utc_day(self.now)[:6]}", 0))

    @property
    def open_ids(self) -> set[str]:
        fields: Any = self.client.hkeys(names.reservations(self.tenant_id))
        return {request_id.decode() for request_id in fields}
