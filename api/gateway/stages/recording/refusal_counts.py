"""Counts of refused requests, so that a flood of them costs a fact every 10 s instead of one each."""

from __future__ import annotations

import ipaddress
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from api.gateway.http.exchange import Exchange
from inference_worker.protocol.messages import REFUSAL_STATUSES, Outcome, RequestsRefused

INDIVIDUAL_RECORDS = 5  # refusals of a combination and minute that get a record of their own
MAX_REFUSAL_KEYS = 1000
MINUTE_S = 60
REPORT_INTERVAL_S = 10.0  # a gateway that is killed loses the counts since its last report
IPV4_PREFIX, IPV6_PREFIX = 24, 48


@dataclass(frozen=True, slots=True)
class RefusalKey:
    """Attributes that refusals counted together have in common."""

    minute_at: int
    tenant_id: str | None
    key_id: str | None
    key_prefix: str | None
    client_network: str
    endpoint: str
    error_code: str
    status: int


class RefusalCounts:
    """Refusals of one gateway process in the current minute."""

    def __init__(self, gateway_id: str, clock: Callable[[], float] = time.time) -> None:
        self._gateway_id, self._clock = gateway_id, clock
        self._counts: Counter[RefusalKey] = Counter()
        self._reported_counts: Counter[RefusalKey] = Counter()
        self._reported_at = clock()

    def count(self, exchange: Exchange) -> bool:
        """Count a request that has ended; return whether that replaces its own record."""
        if not is_counted(exchange):
            return False
        key = self._refusal_key(exchange, client_network(exchange.client_ip))
        if key not in self._counts and len(self._counts) >= MAX_REFUSAL_KEYS:
            key = self._refusal_key(exchange, "")
        self._counts[key] += 1
        return self._counts[key] > INDIVIDUAL_RECORDS

    def due(self) -> Iterator[RequestsRefused]:
        """Yield what is to be reported now: the rest of minutes that have passed, and others every 10 s."""
        is_time = abs(self._clock() - self._reported_at) >= REPORT_INTERVAL_S
        if is_time:
            self._reported_at = self._clock()
        yield from self._report(only_passed=not is_time)

    def all(self) -> Iterator[RequestsRefused]:
        """Yield all that has not been reported."""
        yield from self._report(only_passed=False)

    def _report(self, *, only_passed: bool) -> Iterator[RequestsRefused]:
        minute_at = self._minute()
        for key in list(self._counts):
            is_passed = key.minute_at != minute_at
            if only_passed and not is_passed:
                continue
            requests = self._counts[key] - INDIVIDUAL_RECORDS - self._reported_counts[key]
            self._reported_counts[key] += max(requests, 0)
            if is_passed:
                del self._counts[key], self._reported_counts[key]
            if requests > 0:
                yield RequestsRefused(
                    fact_id=f"refused-{uuid.uuid4().hex}",
                    gateway_id=self._gateway_id,
                    minute_at=key.minute_at,
                    tenant_id=key.tenant_id,
                    key_id=key.key_id,
                    key_prefix=key.key_prefix,
                    client_network=key.client_network,
                    endpoint=key.endpoint,
                    error_code=key.error_code,
                    status=key.status,
                    requests=requests,
                )

    def _refusal_key(self, exchange: Exchange, network: str) -> RefusalKey:
        principal = exchange.principal
        return RefusalKey(
            minute_at=self._minute(),
            tenant_id=str(principal.tenant_id) if principal else None,
            key_id=str(principal.key_id) if principal else None,
            # The prefix of a wrong key is the client's text, so there is no bound on different ones.
            key_prefix=principal.key_prefix if principal else None,
            client_network=network,
            endpoint=exchange.path_template,
            error_code=exchange.error_code or "",
            status=exchange.status,
        )

    def _minute(self) -> int:
        return int(self._clock()) // MINUTE_S * MINUTE_S


def is_counted(exchange: Exchange) -> bool:
    """Return whether a request was refused for its key or a limit, before anything was recorded about it."""
    is_refused = exchange.outcome is Outcome.REFUSED and exchange.status in REFUSAL_STATUSES
    return is_refused and not exchange.is_start_recorded and not exchange.last_attempt.number


def client_network(address: str) -> str:
    """Return the network of an address: /24 of IPv4, /48 of IPv6; empty for any other text."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    prefix = IPV4_PREFIX if ip.version == 4 else IPV6_PREFIX
    return str(ipaddress.ip_network((ip, prefix), strict=False))
