"""Receiving the body: headers are checked first, then size and time are limited while it is read."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

from api.gateway.http.disconnect import Disconnected, Receive
from api.gateway.http.exchange import Exchange
from api.gateway.settings import Limits
from api.openai.errors.access import ClientTimeout, RequestTooLarge, UnsupportedMediaType

_MEDIA_TYPE = re.compile(r'application/json\s*(?:;\s*charset\s*=\s*"?utf-?8"?\s*)?;?\s*', re.IGNORECASE)
CLOSE = {"connection": "close"}


async def receive_body(
    exchange: Exchange, receive: Receive, limits: Limits, grow: Callable[[int], None]
) -> bytes:
    """Return the whole body; ``grow`` accounts for each piece and may refuse it.

    Raises ApiError if the body is of the wrong type, too large or too slow, Disconnected if it breaks off.
    """
    _check_headers(exchange, limits)
    started_at = time.monotonic()
    try:
        async with asyncio.timeout(limits.client_body_timeout_s):
            return await _collect(receive, limits.max_body_bytes, grow)
    except TimeoutError:
        elapsed_s = time.monotonic() - started_at
        limit_s = limits.client_body_timeout_s
        raise ClientTimeout(limit_s=limit_s, elapsed_s=elapsed_s, headers=CLOSE) from None


def _check_headers(exchange: Exchange, limits: Limits) -> None:
    """Refuse a body by its headers, before any of it is read. Raises ApiError."""
    content_type = exchange.header(b"content-type")
    if content_type is None or not _MEDIA_TYPE.fullmatch(content_type.strip()):
        raise UnsupportedMediaType()
    if (exchange.header(b"content-encoding") or "identity").strip().lower() != "identity":
        raise UnsupportedMediaType()
    length = exchange.header(b"content-length")
    if length is not None and length.isascii() and length.isdigit() and int(length) > limits.max_body_bytes:
        raise RequestTooLarge(limit=limits.max_body_bytes)


async def _collect(receive: Receive, limit: int, grow: Callable[[int], None]) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise RequestTooLarge(limit=limit, headers=CLOSE)
        grow(len(piece))
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)
