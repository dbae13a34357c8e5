"""Authorization: the scopes that a route requires of a key."""

from __future__ import annotations

from api.gateway.http.exchange import Exchange
from api.gateway.stages.authenticate import FindPrincipal, authenticate
from api.openai.errors.access import InsufficientScope
from tenants.selectors import KeyPrincipal

INFERENCE = "inference"
MODELS_READ = "models.read"


async def authorize(exchange: Exchange, find: FindPrincipal) -> KeyPrincipal:
    """Authenticate, and return the principal if its key has one of the scopes of the request's route.

    Raises ApiError: those of ``authenticate``, or InsufficientScope, which names the first accepted scope.
    """
    principal = await authenticate(exchange, find)
    accepted_scopes = exchange.route.scopes if exchange.route is not None else ()
    if principal.scopes.isdisjoint(accepted_scopes):
        raise InsufficientScope(scope=next(iter(accepted_scopes), "-"))
    return principal
