"""Authorization: the scopes that a route requires of a key."""

from __future__ import annotations

from collections.abc import Sequence

from api.gateway.http.exchange import Exchange
from api.gateway.stages.access.authenticate import FindPrincipal, authenticate
from api.openai.errors.access import InsufficientScope


async def authorize(exchange: Exchange, scopes: Sequence[str], find: FindPrincipal) -> None:
    """Authenticate, and require one of ``scopes`` of the key.

    Raises ApiError: those of ``authenticate``, or InsufficientScope, which names the first scope.
    """
    principal = await authenticate(exchange, find)
    if principal.scopes.isdisjoint(scopes):
        raise InsufficientScope(scope=scopes[0])
