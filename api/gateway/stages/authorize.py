"""May this request be made: the scopes of its key, and the salt that keeps tenants' prompts apart."""

from __future__ import annotations

import hashlib
import hmac

from api.gateway.http.exchange import Exchange
from api.gateway.stages.authenticate import FindPrincipal, identify
from api.openai.errors.access import InsufficientScope
from tenants.selectors import KeyPrincipal

INFERENCE = "inference"
MODELS_READ = "models.read"


async def authorize(exchange: Exchange, find: FindPrincipal) -> KeyPrincipal:
    """The principal of the presented key, if it has one of the scopes of the request's route.

    Raises ApiError: what ``identify`` raises, or ``insufficient_scope`` with the first of them.
    """
    principal = await identify(exchange, find)
    accepted = exchange.route.scopes if exchange.route is not None else ()
    if principal.scopes.isdisjoint(accepted):
        raise InsufficientScope(scope=next(iter(accepted), "-"))
    return principal


def tenant_salt(secret: bytes, tenant_id: str) -> str:
    """The salt of a tenant's prefix cache at the engine: one tenant can't probe what another has cached.

    vLLM takes up to 128 characters without ``@/\\``; these are 64 hexadecimal ones.
    """
    return hmac.new(secret, f"prefix-cache:{tenant_id}".encode(), hashlib.sha256).hexdigest()
