"""Authentication: from the header with the key to the principal, its tenant and scopes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from api.gateway.http.exchange import Exchange
from api.key_checks import CHALLENGE, bearer_key, check_network, check_validity, verify_secret
from api.openai.errors.access import ConflictingKeys, MismatchedOrganization, MismatchedProject, MissingApiKey
from tenants.keys.secrets import split_key
from tenants.keys.selectors import KeyPrincipal

FindPrincipal = Callable[[str], Awaitable[KeyPrincipal | None]]


async def authenticate(exchange: Exchange, find: FindPrincipal) -> KeyPrincipal:
    """Return the principal of the request's key, and set it on the exchange.

    Raises ApiError: 401 or 403 with a distinct code for each fault, 503 if the database is unavailable. Only
    the prefix is set until the secret has been verified: a wrong secret must not be attributed to the tenant.
    """
    raw_key = request_key(exchange.header(b"authorization"), exchange.header(b"api-key"))
    prefix = split_key(raw_key)
    exchange.key_prefix = prefix
    principal = verify_secret(raw_key, await find(prefix) if prefix is not None else None)
    exchange.principal = principal
    check_validity(principal)
    check_network(principal, exchange.client_ip)
    _check_tenant_headers(exchange, principal)
    return principal


def request_key(authorization: str | None, api_key: str | None) -> str:
    """Return the key of a request by the values of its headers Authorization and api-key. Raises ApiError.

    Azure OpenAI's clients send the key in api-key.
    """
    bearer, azure_key = (authorization or "").strip(), (api_key or "").strip()
    if not bearer and not azure_key:
        raise MissingApiKey(headers=CHALLENGE)
    if not bearer:
        return azure_key
    key = bearer_key(bearer)
    if azure_key not in ("", key):
        raise ConflictingKeys(headers=CHALLENGE)
    return key


def _check_tenant_headers(exchange: Exchange, principal: KeyPrincipal) -> None:
    """Check that the OpenAI-Organization and OpenAI-Project headers, if sent, name the key's tenant."""
    names = ("", principal.tenant_slug, str(principal.tenant_id))
    if (exchange.header(b"openai-organization") or "").strip() not in names:
        raise MismatchedOrganization(headers=CHALLENGE)
    if (exchange.header(b"openai-project") or "").strip() not in names:
        raise MismatchedProject(headers=CHALLENGE)
