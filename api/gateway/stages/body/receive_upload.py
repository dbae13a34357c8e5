"""Receives an upload in pieces. Limits its silence and slowness instead of its duration."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from api.gateway.http.disconnect import Disconnected, Receive
from api.gateway.stages.body.client_time import CLOSE
from api.openai.errors.files import UploadStalled

MIN_BYTES_PER_S = 1024  # an upload that trickles would keep its request slot for ever


async def receive_pieces(receive: Receive, stall_s: float) -> AsyncIterator[bytes]:
    """Yield the body as it arrives. The next piece is not read before the last one is dealt with.

    Raises UploadStalled after ``stall_s`` of silence, or that long after falling below the least rate;
    Disconnected if the body breaks off.
    """
    waited_s, received_bytes, has_more = 0.0, 0, True
    while has_more:
        started_at = time.monotonic()
        try:
            async with asyncio.timeout(stall_s):
                message = await receive()
        except TimeoutError:
            raise _stalled(stall_s) from None
        if message["type"] == "http.disconnect":
            raise Disconnected
        data: bytes = message.get("body", b"")
        has_more = message.get("more_body", False)
        waited_s += time.monotonic() - started_at
        received_bytes += len(data)
        if waited_s > stall_s + received_bytes / MIN_BYTES_PER_S:
            raise _stalled(stall_s)
        yield data


def _stalled(stall_s: float) -> UploadStalled:
    return UploadStalled(limit_s=stall_s, rate=MIN_BYTES_PER_S, headers=CLOSE)
