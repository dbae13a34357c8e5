"""Receiving the body, within limits of size and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from api.gateway.http.disconnect import Disconnected, Receive
from api.gateway.settings import Limits
from api.openai.errors.access import ClientTimeout, RequestTooLarge

CLOSE = {"connection": "close"}


async def receive_body(receive: Receive, limits: Limits, grow: Callable[[int], None]) -> bytes:
    """Return the whole body; ``grow`` accounts for each piece and may refuse it.

    Raises ApiError if the body is too large or too slow, Disconnected if it breaks off.
    """
    started_at = time.monotonic()
    try:
        async with asyncio.timeout(limits.client_body_timeout_s):
            return await _collect(receive, limits.max_body_bytes, grow)
    except TimeoutError:
        elapsed_s = time.monotonic() - started_at
        limit_s = limits.client_body_timeout_s
        raise ClientTimeout(limit_s=limit_s, elapsed_s=elapsed_s, headers=CLOSE) from None


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
