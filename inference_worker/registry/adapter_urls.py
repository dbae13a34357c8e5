"""URLs from which workers download adapters: a signed one of the storage, or of the gateway itself."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass, field

import msgspec

from inference_worker.protocol.messages import AdapterRef
from inference_worker.registry.archives import archive_url

ARTIFACTS_PATH = "/internal/artifacts/"
LIFETIME_S = 3600
# A bucket's URL also expires with the credentials of a role, which are renewed 10 minutes before their end.
REUSE_S = 300.0
MAX_CACHED_URLS = 1000


@dataclass(frozen=True, slots=True)
class _CachedUrl:
    """The signing of a URL, whose result is used again until ``reusable_until`` on the monotonic clock."""

    signing: asyncio.Task[AdapterRef]
    reusable_until: float


@dataclass(frozen=True, slots=True)
class AdapterUrls:
    """Signs URLs, and checks the signatures. ``internal_url``: the gateways' own URL, for workers.

    ``old_secrets`` verify as well: while a secret is exchanged, other processes still sign with the old one.
    """

    internal_url: str
    secret: bytes
    old_secrets: tuple[bytes, ...] = ()
    _cached_urls: dict[str, _CachedUrl] = field(default_factory=dict, init=False, repr=False, compare=False)

    def with_url(self, adapter: AdapterRef) -> AdapterRef:
        """Return the adapter with its URL, which is empty if workers share the storage's folder."""
        url = archive_url(adapter.sha256) or self._own_url(adapter.sha256)
        return msgspec.structs.replace(adapter, url=url)

    async def with_cached_url(self, adapter: AdapterRef) -> AdapterRef:
        """Return the adapter with its URL, like ``with_url``, signed in a thread unless it is cached.

        For a bucket, a signature may need credentials from the network.
        """
        now = time.monotonic()
        if (entry := self._cached_urls.get(adapter.sha256)) is None or entry.reusable_until < now:
            signing = asyncio.create_task(asyncio.to_thread(self.with_url, adapter))
            entry = self._cache(adapter.sha256, _CachedUrl(signing, now + REUSE_S))
        try:
            # Shielded: others may wait for the same signature.
            adapter_with_url = await asyncio.shield(entry.signing)
        except BaseException:
            if entry.signing.done() and self._cached_urls.get(adapter.sha256) is entry:
                del self._cached_urls[adapter.sha256]
            raise
        return msgspec.structs.replace(adapter, url=adapter_with_url.url)

    def _cache(self, sha256: str, entry: _CachedUrl) -> _CachedUrl:
        self._cached_urls.pop(sha256, None)  # the oldest come first
        self._cached_urls[sha256] = entry
        if len(self._cached_urls) > MAX_CACHED_URLS:
            del self._cached_urls[next(iter(self._cached_urls))]
        return entry

    def is_valid(self, sha256: str, expires: str, token: str) -> bool:
        """Return whether a URL was signed here, or by a gateway with the same secret, and is valid."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
            return False
        # As bytes, because compare_digest rejects text that is not ASCII.
        token_bytes = token.encode(errors="replace")
        is_signed = any(
            hmac.compare_digest(_token(secret, sha256, expires).encode(), token_bytes)
            for secret in (self.secret, *self.old_secrets)
        )
        return is_signed and int(expires) >= time.time()

    def _own_url(self, sha256: str) -> str:
        if not self.internal_url:
            return ""
        expires = str(int(time.time()) + LIFETIME_S)
        query = f"expires={expires}&token={_token(self.secret, sha256, expires)}"
        return f"{self.internal_url.rstrip('/')}{ARTIFACTS_PATH}{sha256}?{query}"


def _token(secret: bytes, sha256: str, expires: str) -> str:
    text = f"artifact:{sha256}:{expires}"
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
