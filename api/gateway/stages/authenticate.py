"""Authentication: from the Authorization header to the principal, its tenant and scopes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from api.gateway.http.exchange import Exchange
from api.openai.errors.access import (
    InvalidApiKey,
    InvalidAuthorization,
    KeyExpired,
    KeyRevoked,
    MissingApiKey,
    TenantInactive,
)
from tenants.keys import key_matches, split_key
from tenants.selectors import KeyPrincipal

FindPrincipal = Callable[[str], Awaitable[KeyPrincipal | None]]
CHALLENGE = {"www-authenticate": "Bearer"}
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE | re.ASCII)


async def authenticate(exchange: Exchange, find: FindPrincipal) -> KeyPrincipal:
    """Return the principal of the request's key, and set it on the exchange.

    Raises ApiError: 401 with a distinct code for each fault, 503 if the database is unavailable. Only the
    prefix is set until the secret has been verified: a wrong secret must not be attributed to the tenant.
    """
    raw_key = bearer_key(exchange.header(b"authorization"))
    prefix = split_key(raw_key)
    exchange.key_prefix = prefix
    principal = await find(prefix) if prefix is not None else None
    if not key_matches(raw_key, principal.secret_hash if principal else None) or principal is None:
        raise InvalidApiKey(headers=CHALLENGE)
    exchange.principal = principal
    _check_validity(principal)
    return principal


def bearer_key(header: str | None) -> str:
    """Return the key in an Authorization header. Raises ApiError."""
    if header is None or not header.strip():
        raise MissingApiKey(headers=CHALLENGE)
    match = _BEARER.fullmatch(header.strip())
    if match is None:
        raise InvalidAuthorization(headers=CHALLENGE)
    return match.group(1)


def _check_validity(principal: KeyPrincipal) -> None:
    """Check against the clock: a cached key still expires, and a rotated one still ends, on time."""
    now = datetime.now(UTC)
    if principal.revoked_at is not None and principal.revoked_at <= now:
        raise KeyRevoked(headers=CHALLENGE)
    if principal.expires_at is not None and principal.expires_at <= now:
        raise KeyExpired(headers=CHALLENGE)
    if not principal.tenant_active:
        raise TenantInactive()
