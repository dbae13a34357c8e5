"""Checks of an API key, shared by the public and the administrative API."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from api.openai.errors.access import (
    InvalidApiKey,
    InvalidAuthorization,
    IpNotAllowed,
    KeyExpired,
    KeyRevoked,
    TenantInactive,
)
from tenants.keys.networks import is_allowed_address
from tenants.keys.secrets import key_matches
from tenants.keys.selectors import KeyPrincipal, KeyState, key_state

CHALLENGE = {"www-authenticate": "Bearer"}
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE | re.ASCII)


def bearer_key(authorization: str) -> str:
    """Return the key in an Authorization header. Raises InvalidAuthorization."""
    match = _BEARER.fullmatch(authorization)
    if match is None:
        raise InvalidAuthorization(headers=CHALLENGE)
    return match[1]


def verify_secret(raw_key: str, principal: KeyPrincipal | None) -> KeyPrincipal:
    """Return the principal, which is None for an unknown prefix. Raises InvalidApiKey if the secret is wrong.

    Takes as long for an unknown prefix as for a wrong secret.
    """
    if not key_matches(raw_key, principal.secret_hash if principal else None) or principal is None:
        raise InvalidApiKey(headers=CHALLENGE)
    return principal


def check_validity(principal: KeyPrincipal) -> None:
    """Check that the key is valid now. Raises KeyRevoked, KeyExpired, TenantInactive.

    A cached key still expires, and a rotated one still ends, on time.
    """
    state = key_state(principal, datetime.now(UTC))
    if state is KeyState.REVOKED:
        raise KeyRevoked(headers=CHALLENGE)
    if state is KeyState.EXPIRED:
        raise KeyExpired(headers=CHALLENGE)
    if state is KeyState.DISABLED:
        raise TenantInactive()


def check_network(principal: KeyPrincipal, address: str) -> None:
    """Check that the key may be used from the client's address. Raises IpNotAllowed."""
    if not is_allowed_address(address, principal.allowed_networks):
        raise IpNotAllowed(address=address or "unknown")
