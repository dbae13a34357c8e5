"""May this request run: scope, model, and a place in this process."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.gateway.exchange import Exchange
from api.gateway.identify import FindPrincipal, identify
from api.openai.errors import ApiError
from tenants.selectors import KeyPrincipal

INFERENCE = "inference"
MODELS_READ = "models.read"
RETRY_AFTER_S = 1


async def authorize(exchange: Exchange, find: FindPrincipal) -> KeyPrincipal:
    """The principal of the presented key, if it has one of the scopes of the request's route.

    Raises ApiError: what ``identify`` raises, or ``insufficient_scope`` with the first of them.
    """
    principal = await identify(exchange, find)
    accepted = exchange.route.scopes if exchange.route is not None else ()
    if principal.scopes.isdisjoint(accepted):
        raise ApiError("insufficient_scope", scope=next(iter(accepted), "-"))
    return principal


class Places:
    """The requests that this process carries at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place; given back however the request ends. Raises ApiError when all are taken."""
        if self.taken >= self._limit:
            raise ApiError("overloaded", headers={"retry-after": str(RETRY_AFTER_S)})
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class TenantPlaces:
    """The bodies that are being read, counted by tenant: one can't take all memory, nor all places."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._places: dict[str, Places] = {}

    @contextmanager
    def take(self, tenant_id: str) -> Iterator[None]:
        """Hold one of the tenant's places. Raises ApiError when the tenant has taken all of its own."""
        places = self._places.setdefault(tenant_id, Places(self._limit))
        try:
            with places.take():
                yield
        finally:
            if places.taken == 0:
                self._places.pop(tenant_id, None)


class SharedPlaces:
    """The requests that a process carries at once, of which no tenant can have all.

    A tenant gets a further place only while it holds less than a multiple of those that are free, so there is
    always one for another (Choudhury and Hahne, "Dynamic queue length thresholds", 1998). Alone it comes to
    ``tenant_share`` of all; several come to equal parts, as fast as requests end.
    """

    def __init__(self, limit: int, tenant_share: float) -> None:
        self._limit = limit
        self._multiple = tenant_share / (1 - tenant_share)
        self._held: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._held.total()

    @contextmanager
    def take(self, tenant_id: str) -> Iterator[None]:
        """Hold a place; given back however the request ends. Raises ApiError when there is none."""
        held, free = self._held[tenant_id], self._limit - self.taken
        if free < 1 or (held and (free == 1 or held >= self._multiple * free)):
            raise ApiError("overloaded", headers={"retry-after": str(RETRY_AFTER_S)})
        self._held[tenant_id] += 1
        try:
            yield
        finally:
            self._held[tenant_id] -= 1
            if not self._held[tenant_id]:
                del self._held[tenant_id]


def tenant_salt(secret: bytes, tenant_id: str) -> str:
    """The salt of a tenant's prefix cache at the engine: one tenant can't probe what another has cached.

    vLLM takes up to 128 characters without ``@/\\``; these are 64 hexadecimal ones.
    """
    return hmac.new(secret, f"prefix-cache:{tenant_id}".encode(), hashlib.sha256).hexdigest()
