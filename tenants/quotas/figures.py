"""Figures of the ledger from which the counters of a tenant are rebuilt, and with which they are compared."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from django.db.models import Count, DateTimeField, F, QuerySet, Sum
from django.db.models.functions import Trunc

from tenants.choices import RecordState
from tenants.models import ApiKey, SpendReservation, UsageRecord
from tenants.quotas.amounts import SPEND, WINDOW_S, Amounts, StoredReservation, spend_field, utc_day

WINDOW = dt.timedelta(seconds=WINDOW_S)


@dataclass(slots=True)
class ScopeFigures:
    """Figures of a tenant or a key: spend by day and month in UTC, use of the last minute by second.

    ``spend``: micro-dollars by ``d<yyyymmdd>`` and ``m<yyyymm>``, open reservations included.
    """

    spend: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    requests: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    tokens: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def add_spend(self, day: str, cost: int) -> None:
        """Add the cost of requests that started on ``day`` (yyyymmdd)."""
        for limit in SPEND:
            self.spend[spend_field(limit, day)] += cost

    def fields(self) -> dict[str, str]:
        """Return the fields of the counters hash."""
        fields = {name: str(cost) for name, cost in self.spend.items() if cost}
        seconds = sorted(self.requests)
        if seconds:
            fields |= {f"r{second}": str(self.requests[second]) for second in seconds}
            fields |= {f"t{second}": str(self.tokens[second]) for second in seconds if self.tokens[second]}
            fields["oldest"], fields["newest"] = str(seconds[0]), str(seconds[-1])
            fields["requests"] = str(sum(self.requests.values()))
            fields["tokens"] = str(sum(self.tokens.values()))
        return fields


@dataclass(slots=True)
class TenantFigures:
    """Figures of a tenant and of each of its keys, and its open requests.

    ``open_requests``: reservations of the requests that the ledger has not settled, by request id.
    ``reserved_day``: the day on which work without a request has reserved spend; empty without such work.
    """

    tenant: ScopeFigures = field(default_factory=ScopeFigures)
    keys: defaultdict[str, ScopeFigures] = field(default_factory=lambda: defaultdict(ScopeFigures))
    open_requests: dict[str, StoredReservation] = field(default_factory=dict)
    reserved_day: str = ""

    def scopes(self, key_id: str) -> tuple[ScopeFigures, ...]:
        """Return the figures that a request of this key counts towards: the tenant's and the key's."""
        return (self.tenant, self.keys[key_id]) if key_id else (self.tenant,)

    def add_open(self, request_id: str, reservation: StoredReservation, now: dt.datetime) -> None:
        """Add an open request. One that began before the last minute counts in no bucket of the rates."""
        self.open_requests[request_id] = reservation
        second, amounts = reservation.admitted_at_s, reservation.amounts
        for scope in self.scopes(reservation.key_id):
            scope.add_spend(reservation.day, amounts.cost)
            if second > now.timestamp() - WINDOW_S:
                scope.requests[second] += amounts.requests
                scope.tokens[second] += amounts.tokens


def tenant_figures(
    tenant_id: uuid.UUID, now: dt.datetime, reservations: Mapping[str, str] | None = None
) -> TenantFigures:
    """Return the figures at ``now``. The caller's transaction has a snapshot for its several queries.

    ``reservations``: those in Redis by request id. They are open if the ledger doesn't know their request.
    """
    figures = TenantFigures()
    for key_id in ApiKey.objects.filter(tenant_id=tenant_id).values_list("id", flat=True):
        figures.keys[str(key_id)] = ScopeFigures()
    records = UsageRecord.objects.filter(tenant_id=tenant_id)
    _add_spend(figures, records, now)
    _add_window(figures, records, now)
    _add_open(figures, records, now)
    _add_unrecorded(figures, reservations or {}, now)
    _add_reserved(figures, tenant_id, now)
    return figures


def _add_spend(figures: TenantFigures, records: QuerySet[UsageRecord], now: dt.datetime) -> None:
    for key_id, day, cost in settled_spend(records, now):
        for scope in figures.scopes(key_id):
            scope.add_spend(day, cost)


def settled_spend(records: QuerySet[UsageRecord], now: dt.datetime) -> Iterator[tuple[str, str, int]]:
    """Yield key id, day and cost of the settled requests and training since yesterday's month began."""
    first_day = (now.astimezone(dt.UTC) - dt.timedelta(days=1)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    rows = (
        records.filter(state=RecordState.SETTLED, started_at__gte=first_day)
        .order_by()
        .annotate(day=Trunc("started_at", "day", tzinfo=dt.UTC, output_field=DateTimeField()))
        .values_list("key_id", "day")
        .annotate(cost=Sum("cost_microusd"))
    )
    for key_id, day, cost in rows:
        yield str(key_id or ""), utc_day(day.timestamp()), cost


def reserved_spend(tenant_id: uuid.UUID) -> int:
    """Return the micro-dollars that open fine-tuning jobs of a tenant reserve."""
    reservations = SpendReservation.objects.filter(tenant_id=tenant_id)
    return int(reservations.aggregate(total=Sum("amount_microusd"))["total"] or 0)


def _add_reserved(figures: TenantFigures, tenant_id: uuid.UUID, now: dt.datetime) -> None:
    """Add the spend that work without a request has reserved to that of the current day."""
    day = utc_day(now.timestamp())
    for key_id, amount in SpendReservation.objects.filter(tenant_id=tenant_id).values_list(
        "key_id", "amount_microusd"
    ):
        figures.reserved_day = day
        for scope in figures.scopes(str(key_id or "")):
            scope.add_spend(day, amount)


def _add_window(figures: TenantFigures, records: QuerySet[UsageRecord], now: dt.datetime) -> None:
    """Add the requests of the last minute that are settled."""
    rows = (
        recent_requests(records, now)
        .filter(state=RecordState.SETTLED)
        .order_by()
        .annotate(second=Trunc("started_at", "second", tzinfo=dt.UTC, output_field=DateTimeField()))
        .values_list("key_id", "second")
        .annotate(requests=Count("id"), tokens=Sum(F("prompt_tokens") + F("completion_tokens")))
    )
    for key_id, second, requests, tokens in rows:
        for scope in figures.scopes(str(key_id or "")):
            scope.requests[int(second.timestamp())] += requests
            scope.tokens[int(second.timestamp())] += tokens


def _add_open(figures: TenantFigures, records: QuerySet[UsageRecord], now: dt.datetime) -> None:
    for record in open_requests(records):
        started_s, key_id = record.started_at.timestamp(), str(record.key_id or "")
        amounts = Amounts(1, record.reserved_tokens, record.reserved_microusd)
        reservation = StoredReservation(int(started_s), utc_day(started_s), amounts, key_id)
        figures.add_open(record.request_id, reservation, now)


def _add_unrecorded(figures: TenantFigures, reservations: Mapping[str, str], now: dt.datetime) -> None:
    """Add the requests whose gateway has reserved, but whose first fact has not reached the ledger."""
    records = UsageRecord.objects.filter(request_id__in=reservations)
    recorded_ids = set(records.values_list("request_id", flat=True))
    for request_id, reservation in reservations.items():
        if request_id not in recorded_ids:
            figures.add_open(request_id, StoredReservation.parse(reservation), now)


def open_requests(records: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
    """Return the requests with a reservation that are not settled."""
    columns = ("request_id", "key_id", "started_at", "reserved_tokens", "reserved_microusd")
    return _with_reservation(records).filter(state=RecordState.OPEN).only(*columns)


def recent_requests(records: QuerySet[UsageRecord], now: dt.datetime) -> QuerySet[UsageRecord]:
    """Return the requests that count towards the rates: those of the last minute that had a reservation."""
    return _with_reservation(records).filter(started_at__gt=now - WINDOW)


def _with_reservation(records: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
    """Leave out reads of streams, which have no model, and training, which has no gateway."""
    return records.exclude(model="").exclude(gateway_id="")
