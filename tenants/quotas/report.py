"""The state of quotas for people: use, limit, reservations and reset, in Redis and in the ledger."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from tenants.ledger.liveness import redis_time
from tenants.limits.columns import UsageLimits
from tenants.models import ApiKey, Tenant
from tenants.quotas.amounts import (
    SPEND,
    WINDOW_S,
    Limit,
    StoredReservation,
    limit_values,
    seconds_left,
    spend_field,
    utc_day,
    with_defaults,
)
from tenants.quotas.counters import names
from tenants.quotas.figures import ScopeFigures, TenantFigures, tenant_figures
from tenants.quotas.settings import QuotaDefaults


@dataclass(frozen=True, slots=True)
class QuotaLine:
    """One limit of a tenant or a key. Rates are those of the last minute, spend is in micro-dollars.

    ``use``: by the counters in Redis; ``reserved_amount``: the part of it for requests that have not ended.
    ``ledger``: the use by the ledger, which lags behind by about a second. ``resets_in_s``: until the window
    is empty, or the day or month in UTC ends.
    """

    holder: str
    limit: Limit
    value: int | None
    use: int
    reserved_amount: int
    ledger: int
    resets_in_s: int

    @property
    def remaining(self) -> int | None:
        """The rest; None without a limit."""
        return None if self.value is None else max(0, self.value - self.use)


@dataclass(slots=True)
class _Counters:
    """The counters of a scope in Redis."""

    fields: Mapping[str, int]
    concurrent: int

    def use(self, limit: Limit, now_s: int, day: str) -> int:
        match limit:
            case Limit.REQUESTS:
                return self._window("r", now_s)
            case Limit.TOKENS:
                return self._window("t", now_s)
            case Limit.CONCURRENT:
                return self.concurrent
            case Limit.DAY | Limit.MONTH:
                return self.fields.get(spend_field(limit, day), 0)

    def _window(self, kind: str, now_s: int) -> int:
        return sum(self.fields.get(f"{kind}{second}", 0) for second in range(now_s - WINDOW_S + 1, now_s + 2))

    def resets_in_s(self, limit: Limit, now_s: int) -> int:
        if limit in SPEND:
            return seconds_left(limit, now_s)
        newest = self.fields.get("newest", 0)
        return max(0, newest + WINDOW_S - now_s) if limit is not Limit.CONCURRENT else 0


def quota_lines(client: redis.Redis, tenant: Tenant, defaults: QuotaDefaults) -> list[QuotaLine]:
    """Return a line for each limit of the tenant and of each of its keys, unlimited ones included."""
    tenant_id, now_s = str(tenant.id), int(redis_time(client))
    day = utc_day(now_s)
    figures = tenant_figures(tenant.id, dt.datetime.fromtimestamp(now_s, dt.UTC))
    reservations = _reservations(client, tenant_id)
    lines = list[QuotaLine]()

    def add(holder: str, limits: UsageLimits, key_id: str | None) -> None:
        reserved_amounts = _reserved_amounts(reservations, key_id, day)
        counters = _read(client, tenant_id, key_id, now_s)
        ledger = _ledger_use(figures, figures.tenant if key_id is None else figures.keys[key_id], key_id, day)
        for limit, value in zip(Limit, limit_values(limits), strict=True):
            use, reset_s = counters.use(limit, now_s, day), counters.resets_in_s(limit, now_s)
            reserved_amount = reserved_amounts[limit]
            lines.append(QuotaLine(holder, limit, value, use, reserved_amount, ledger[limit], reset_s))

    add("tenant", with_defaults(tenant.limits(), defaults), None)
    for key in ApiKey.objects.filter(tenant=tenant).order_by("created_at"):
        add(key.prefix, key.limits(), str(key.id))
    return lines


def _reservations(client: redis.Redis, tenant_id: str) -> list[StoredReservation]:
    values: Any = client.hvals(names.reservations(tenant_id))
    return [StoredReservation.parse(value.decode()) for value in values]


def _reserved_amounts(
    reservations: Sequence[StoredReservation], key_id: str | None, day: str
) -> Counter[Limit]:
    """Return the open requests of a key, None: of the tenant, and their part of the spend."""
    own = [reservation for reservation in reservations if key_id in (None, reservation.key_id)]
    amounts = Counter({Limit.CONCURRENT: len(own)})
    for limit in SPEND:
        period = spend_field(limit, day)
        amounts[limit] = sum(item.amounts.cost for item in own if spend_field(limit, item.day) == period)
    return amounts


def _read(client: redis.Redis, tenant_id: str, key_id: str | None, now_s: int) -> _Counters:
    hash_key, leases = (
        (names.tenant_counters(tenant_id), names.tenant_leases(tenant_id))
        if key_id is None
        else (names.key_counters(tenant_id, key_id), names.key_leases(tenant_id, key_id))
    )
    values: Any = client.hgetall(hash_key)
    fields = {name.decode(): int(value) for name, value in values.items() if name != b"incarnation"}
    return _Counters(fields, int(client.zcount(leases, f"({now_s * 1000}", "+inf")))


def _ledger_use(
    figures: TenantFigures, scope: ScopeFigures, key_id: str | None, day: str
) -> Mapping[Limit, int]:
    return {
        Limit.REQUESTS: sum(scope.requests.values()),
        Limit.TOKENS: sum(scope.tokens.values()),
        Limit.CONCURRENT: sum(key_id in (None, request.key_id) for request in figures.open_requests.values()),
        **{limit: scope.spend[spend_field(limit, day)] for limit in SPEND},
    }


def tenant_or_all(tenant: Tenant | None) -> Iterator[Tenant]:
    """Yield the tenant, or all tenants."""
    yield from [tenant] if tenant is not None else Tenant.objects.order_by("slug")
