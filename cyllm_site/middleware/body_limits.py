"""Limits on the size and duration of request bodies. Large ones are received at a pace."""

from __future__ import annotations

import asyncio

from api.gateway.capacity.pace import SOCKET_S_PER_BYTE, Pace
from api.gateway.http.disconnect import Message, Receive
from api.openai.errors.access import ClientTimeout, RequestTooLarge
from api.openai.validation.json_shape import LARGE_BYTES

_pace = Pace()  # by network: Django authenticates its clients after it has received their bodies


class BoundedBody:
    """A ``receive`` callable that bounds the size and duration of the body. Raises ApiError.

    Large bodies from the same network of clients share a pace.
    """

    def __init__(self, receive: Receive, limit: int, timeout_s: float, network: str = "") -> None:
        self._receive, self._limit, self._timeout_s, self._network = receive, limit, timeout_s, network
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._is_complete = False
        self._size = 0

    async def __call__(self) -> Message:
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise ClientTimeout(
                limit_s=self._timeout_s,
                elapsed_s=self._timeout_s,
                headers={"connection": "close"},
            ) from None
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise RequestTooLarge(limit=self._limit, headers={"connection": "close"})
        self._is_complete = not message.get("more_body", False)
        if self._size > LARGE_BYTES:
            await self._keep_pace(len(message.get("body", b"")))
        return message

    async def _keep_pace(self, size: int) -> None:
        """Wait until as much may be received; the pause is not the client's time."""
        started_at = asyncio.get_running_loop().time()
        _pace.charge(self._network, size * SOCKET_S_PER_BYTE)
        await _pace.wait(self._network)
        self._deadline += asyncio.get_running_loop().time() - started_at
