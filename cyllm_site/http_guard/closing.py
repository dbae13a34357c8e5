"""Closed connections whose clients don't read: the rest of their response is given up after a while.

A transport that is closed stays open until its peer has taken all data. One that reads nothing, or a byte now
and then, would keep the socket and its buffers for ever, after its request has ended.
"""

from __future__ import annotations

import asyncio
from typing import Any

FLUSH_TIMEOUT_S = 20.0


class ClosingTransport:
    """The transport of a connection, aborted if closing takes longer than ``FLUSH_TIMEOUT_S``."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Close the connection once its data has been sent."""
        if not self._transport.is_closing() and self._transport.get_write_buffer_size():
            self._loop.call_later(FLUSH_TIMEOUT_S, self._transport.abort)
        self._transport.close()
