"""Receiving the body, within limits of size and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from api.gateway.capacity.large_bodies import LargeBodies, LargeBodySlot
from api.gateway.capacity.pace import SOCKET_S_PER_BYTE
from api.gateway.capacity.process_capacity import Capacity
from api.gateway.http.content_coding import BodyDecoder
from api.gateway.http.exchange import Exchange
from api.gateway.stages.body.client_time import CLOSE, ClientTime
from api.openai.errors.access import RequestTooLarge
from api.openai.errors.base import ApiError
from api.openai.errors.parameters import JsonTooComplex, JsonTooDeep
from api.openai.validation.json_shape import LARGE_BYTES, JsonShape


async def receive_request(
    exchange: Exchange, client: ClientTime, limit: int, capacity: Capacity, slot: LargeBodySlot
) -> bytes:
    """Return the whole body, decoded. The exchange then holds its bytes and a request slot.

    A large body occupies ``slot``. Raises ApiError if the body is too large, too slow, or large and too
    complex; Disconnected if it breaks off.
    """
    tenant_id, resources = exchange.tenant_id, exchange.resources
    with capacity.body_reads.slot(tenant_id):
        if (length := exchange.content_length) is not None:
            capacity.bodies.check(tenant_id, length)
        add_bytes = resources.enter_context(capacity.bodies.account(tenant_id))
        coding = exchange.content_coding
        reception = _Reception(_Body(limit, add_bytes), coding, capacity.large_bodies, tenant_id, slot)
        body = await reception.receive(client)
    # Only now, so that a body that never arrives occupies no slot.
    resources.enter_context(capacity.requests.slot(tenant_id))
    return body


class _Reception:
    """Receives one body, at the pace of its tenant once it is large."""

    def __init__(
        self, body: _Body, coding: str | None, large_bodies: LargeBodies, tenant_id: str, slot: LargeBodySlot
    ) -> None:
        self._body, self._tenant_id, self._slot = body, tenant_id, slot
        self._decoder = None if coding is None else BodyDecoder(coding)
        self._pace = large_bodies.pace

    async def receive(self, client: ClientTime) -> bytes:
        """Return the whole body."""
        received_bytes, has_more = 0, True
        while has_more:
            message = await client.receive(self._slot)
            data: bytes = message.get("body", b"")
            has_more = message.get("more_body", False)
            received_bytes += len(data)
            self._body.check_size(received_bytes)  # of compressed data too, which may decode to nothing
            await self._add((data,) if self._decoder is None else self._decoder.decode(data))
        if self._decoder is not None:
            self._decoder.finish()
        return self._body.complete()

    async def _add(self, pieces: Iterable[bytes]) -> None:
        remaining = iter(pieces)
        while True:
            started_at = time.thread_time()
            piece = next(remaining, None)
            if piece is None:
                return
            self._body.add(piece)
            if self._body.is_large:
                work_s = time.thread_time() - started_at + len(piece) * SOCKET_S_PER_BYTE
                self._pace.charge(self._tenant_id, work_s)
                # Meanwhile the socket isn't read, so the client sends no more than the buffers hold.
                await self._pace.wait(self._tenant_id)
                await self._slot.acquire()


class _Body:
    """The pieces of a body, or the fault of their shape."""

    def __init__(self, limit: int, add_bytes: Callable[[int], None]) -> None:
        self._limit, self._add_bytes = limit, add_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self._shape: JsonShape | None = None
        self._fault: ApiError | None = None

    @property
    def is_large(self) -> bool:
        """True if the bytes that have arrived make it a large body."""
        return self._size > LARGE_BYTES

    def check_size(self, size: int) -> None:
        """Raise RequestTooLarge if the body exceeds the limit with this size."""
        if size > self._limit:
            raise RequestTooLarge(limit=self._limit, headers=CLOSE)

    def add(self, piece: bytes) -> None:
        """Add the next piece and account for it. Raises RequestTooLarge, Overloaded."""
        self._size += len(piece)
        self.check_size(self._size)
        if self._fault is not None:
            return  # the client receives the error once it has sent its body
        self._add_bytes(len(piece))
        self._pieces.append(piece)
        if self.is_large:
            self._check_shape(self._pieces if self._shape is None else self._pieces[-1:])

    def _check_shape(self, pieces: Sequence[bytes]) -> None:
        shape = self._shape = self._shape or JsonShape()
        try:
            for piece in pieces:
                shape.add(piece)
        except (JsonTooDeep, JsonTooComplex) as error:
            self._fault = error
            self._pieces.clear()

    def complete(self) -> bytes:
        """Return the whole body. Raises the ApiError of its shape."""
        if self._fault is not None:
            raise self._fault
        return b"".join(self._pieces)
