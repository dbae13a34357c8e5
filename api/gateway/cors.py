"""Cross-origin requests from browsers (CORS), as the Fetch standard defines them.

Pages of the allowed origins may call the API with a key of their own. No response allows credentials: the API
uses no cookies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

Fields = list[tuple[bytes, bytes]]
ANY = "*"
STATE = "cyllm.cors"  # the key of the policy in the lifespan's state
MAX_AGE_S = 7200  # browsers cache preflight results for no longer
METHODS = "DELETE, GET, HEAD, OPTIONS, POST"
# These are named so that people see them in the browser's tools; the asterisk exposes all others.
EXPOSED = (
    "retry-after, x-request-id, x-stream-id, x-should-retry, "
    "x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, "
    "x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens, *"
)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_FIELD_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~ ,-]{1,4096}")


def parse_origins(text: str) -> frozenset[str]:
    """Return the origins in a list separated by commas, as browsers send them. Raises ValueError."""
    return frozenset(_normalized(entry) for part in text.split(",") if (entry := part.strip()))


def _normalized(entry: str) -> str:
    origin = entry.lower().removesuffix("/")
    if origin in (ANY, "null"):
        return origin
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(f"{entry!r} is not an origin: expected scheme://host, scheme://host:port or *")
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0], ":"))


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """The origins whose pages may use the API."""

    origins: frozenset[str] = frozenset()

    def response_fields(self, origin: str | None) -> Fields:
        """Return the header fields for a response to a request from ``origin``."""
        if not self.origins:
            return []
        if ANY in self.origins:
            return _readable_by(ANY) if origin is not None else []
        # Without an origin too: a cache must not give such a response to a page.
        vary = [(b"vary", b"Origin")]
        return [*_readable_by(origin), *vary] if origin in self.origins else vary

    def preflight_fields(self, origin: str | None, requested_fields: str | None) -> Mapping[str, str] | None:
        """Return the header fields that allow a request, or None if the origin is not allowed."""
        if origin is None or not self.origins & {ANY, origin}:
            return None
        fields = {"access-control-allow-methods": METHODS, "access-control-max-age": str(MAX_AGE_S)}
        if requested_fields is not None and _FIELD_NAMES.fullmatch(requested_fields):
            # Named, because an asterisk does not allow Authorization.
            fields["access-control-allow-headers"] = requested_fields
        return fields


def _readable_by(origin: str) -> Fields:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", EXPOSED.encode()),
    ]


@cache
def cors_policy(allowed_origins: str) -> CorsPolicy:
    """Return the policy of the setting. Raises ValueError."""
    return CorsPolicy(parse_origins(allowed_origins))
