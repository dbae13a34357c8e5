"""Whose request is it: from the Authorization header to tenant and scopes."""

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
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE | re.ASCII)


async def identify(exchange: Exchange, find: FindPrincipal) -> KeyPrincipal:
    """The principal of the presented key, also noted in the exchange.

    Raises ApiError: 401 with a code of its own for each fault, 503 if the database can't tell. Nothing
    but the prefix is noted until the secret has proved right: a wrong one is not the tenant's doing.
    """
    raw = presented_key(exchange.header(b"authorization"))
    prefix = split_key(raw)
    exchange.key_prefix = prefix
    principal = await find(prefix) if prefix is not None else None
    if not key_matches(raw, principal.secret_hash if principal else None) or principal is None:
        raise InvalidApiKey(headers={"www-authenticate": "Bearer"})
    exchange.key_id = str(principal.key_id)
    exchange.tenant_id = str(principal.tenant_id)
    exchange.tenant_slug = principal.tenant_slug
    _check_alive(principal)
    return principal


def presented_key(header: str | None) -> str:
    """The key in an Authorization header. Raises ApiError."""
    if header is None or not header.strip():
        raise MissingApiKey(headers={"www-authenticate": "Bearer"})
    match = _BEARER.fullmatch(header.strip())
    if match is None:
        raise InvalidAuthorization(headers={"www-authenticate": "Bearer"})
    return match.group(1)


def _check_alive(principal: KeyPrincipal) -> None:
    """The state at this moment: a cached key expires in time, and a rotated one at its hour."""
    now = datetime.now(UTC)
    if principal.revoked_at is not None and principal.revoked_at <= now:
        raise KeyRevoked(headers={"www-authenticate": "Bearer"})
    if principal.expires_at is not None and principal.expires_at <= now:
        raise KeyExpired(headers={"www-authenticate": "Bearer"})
    if not principal.tenant_active:
        raise TenantInactive()
