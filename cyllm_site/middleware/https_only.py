"""Refusal of API requests over plain HTTP, and HSTS: pages have Django's own redirect to HTTPS."""

from __future__ import annotations

from api.gateway.http.disconnect import Message, Scope, Send
from api.openai.errors.access import HttpsRequired

HSTS = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
# Probes of load balancers carry no secrets; workers fetch artifacts with signed URLs.
PLAIN_ROOTS = frozenset({"health", "internal", "metrics"})


def is_https(scope: Scope, trusted_proxies: int) -> bool:
    """Return whether the client's connection is encrypted, as the server or a trusted proxy says."""
    if scope.get("scheme") in ("https", "wss"):
        return True
    if not trusted_proxies:
        return False
    protocols = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
    return bool(protocols) and protocols[0].split(b",")[0].strip().lower() == b"https"


def check_https(scope: Scope, trusted_proxies: int) -> None:
    """Refuse a plain request. Raises HttpsRequired."""
    root = scope["path"].lstrip("/").partition("/")[0]
    if root not in PLAIN_ROOTS and not is_https(scope, trusted_proxies):
        raise HttpsRequired(headers={"connection": "close"})


def with_hsts(send: Send) -> Send:
    """Return a ``send`` callable that tells browsers to use HTTPS only."""

    async def send_with_hsts(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), HSTS]}
        await send(message)

    return send_with_hsts
