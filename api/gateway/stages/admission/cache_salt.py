"""The salt of a tenant's prefix cache in the engine."""

from __future__ import annotations

import hashlib
import hmac


def cache_salt(secret: bytes, tenant_id: str) -> str:
    """Return the salt of a tenant's prefix cache, so that one tenant can't probe what another has cached.

    vLLM accepts up to 128 characters without ``@/\\``; this is 64 hexadecimal digits.
    """
    return hmac.new(secret, f"prefix-cache:{tenant_id}".encode(), hashlib.sha256).hexdigest()
