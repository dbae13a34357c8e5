"""The address of a Redis server and the credentials for it, from one URL."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import parse_url


@dataclass(frozen=True, slots=True)
class Address:
    """A Redis or Valkey server; ``path`` is set for Unix sockets, ``tls`` for ``rediss://``."""

    host: str
    port: int
    path: str | None
    username: str | None
    password: str | None
    database: int
    tls: ssl.SSLContext | None

    @classmethod
    def from_url(cls, url: str) -> Address:
        """Parse a URL by redis-py's rules.

        Raises ValueError. Don't show its text, which can contain the password.
        """
        options: dict[str, Any] = dict(parse_url(url))
        return cls(
            host=options.get("host", "localhost"),
            port=options.get("port", 6379),
            path=options.get("path"),
            username=options.get("username"),
            password=options.get("password"),
            database=options.get("db", 0),
            tls=_tls_context(options) if url.startswith("rediss://") else None,
        )


def _tls_context(options: dict[str, Any]) -> ssl.SSLContext:
    """Return a verifying context for redis-py's query options: ``ssl_ca_certs``, ``ssl_cert_reqs``, …"""
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
