"""Downloads: sends stored content in pieces, as fast as the client reads them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from api.gateway.http.disconnect import Disconnected
from api.gateway.http.response_sender import ResponseSender
from api.openai.errors.files import FileStorageUnavailable

logger = logging.getLogger("cyllm.gateway.files")

PIECE_BYTES = 256 * 1024
ReadPiece = Callable[[int], Awaitable[bytes]]  # up to this many bytes, none at the end


async def send_content(
    sender: ResponseSender, read: ReadPiece, size_bytes: int, stall_timeout_s: float
) -> None:
    """Send the ``size_bytes`` that the head has announced.

    Raises FileStorageUnavailable if the content is shorter, Disconnected if the client doesn't read a piece
    in time.
    """
    remaining_bytes = size_bytes
    while remaining_bytes:
        piece = await read(min(PIECE_BYTES, remaining_bytes))
        if not piece:
            logger.error("a content of %d bytes ends %d bytes too early", size_bytes, remaining_bytes)
            raise FileStorageUnavailable
        remaining_bytes -= len(piece)
        try:
            async with asyncio.timeout(stall_timeout_s):
                await sender.download(piece, is_last=not remaining_bytes)
        except TimeoutError:
            raise Disconnected from None
