"""One connection to Redis that is kept up: raw RESP2 on an asyncio protocol, parsed by hiredis.

redis-py costs 100 µs and more per command (docs/decisions/0002-pubsub-channel-layer.md); this path
carries every token, so it has a connection of its own and shares redis-py's parser, not its client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis

from inference_worker.transport.address import Address

logger = logging.getLogger("cyllm.transport")

CONNECT_TIMEOUT_S = 3.0
SILENCE_LIMIT_S = 3.0
PING_INTERVAL_S = 1.0
BACKOFF_S = (0.05, 0.1, 0.2, 0.4)

_INCOMPLETE = object()


class RedisUnavailable(ConnectionError):
    """The connection to Redis is not there, or broke before the reply came."""


class CommandRefused(RedisUnavailable):
    """Redis answered with an error: busy, loading, no permission. For callers it is away all the same."""


class _RespProtocol(asyncio.Protocol):
    """Bytes to replies, nothing else."""

    def __init__(self, on_reply: Callable[[Any], None], on_lost: Callable[[], None]) -> None:
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._on_reply, self._on_lost = on_reply, on_lost
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard_at = asyncio.get_running_loop().time()

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not _INCOMPLETE:
            self._on_reply(reply)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        self._on_lost()


class RedisConnection:
    """Keeps one connection up until ``stop``; commands are pipelined, replies come in order."""

    def __init__(
        self,
        address: Address,
        *,
        on_up: Callable[[], None] = lambda: None,
        on_down: Callable[[], None] = lambda: None,
        on_push: Callable[[list[Any]], bool] = lambda _: False,
    ) -> None:
        """``on_push`` sees every reply first and returns true if it took it (pub/sub messages)."""
        self._address = address
        self._on_up, self._on_down, self._on_push = on_up, on_down, on_push
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.WriteTransport | None = None
        self._task: asyncio.Task[None] | None = None
        self._up = asyncio.Event()

    @property
    def is_up(self) -> bool:
        """Whether commands can be sent now."""
        transport = self._transport
        return self._up.is_set() and transport is not None and not transport.is_closing()

    async def start(self) -> None:
        """Begin connecting; returns at once."""
        self._task = asyncio.create_task(self._keep_up(), name="redis-link")

    async def wait_up(self, timeout_s: float) -> None:
        """Raises RedisUnavailable if there is no connection within ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        except TimeoutError:
            raise RedisUnavailable("Redis can't be reached") from None

    async def stop(self) -> None:
        """Close for good."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._disconnect()

    def call(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """Send a command; the future has its reply or an error. Raises RedisUnavailable if not connected."""
        if not self.is_up:
            raise RedisUnavailable("Redis can't be reached")
        return self._send(command)

    def call_push(self, *command: str | bytes) -> None:
        """Send a command that is answered by a push (SUBSCRIBE). Raises RedisUnavailable if not connected."""
        if self._transport is None or not self.is_up:
            raise RedisUnavailable("Redis can't be reached")
        self._transport.write(hiredis.pack_command(command))

    def _send(self, command: tuple[str | bytes | int | float, ...]) -> asyncio.Future[Any]:
        if self._transport is None:
            raise RedisUnavailable("the connection to Redis broke")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append(reply)
        self._transport.write(hiredis.pack_command(command))
        return reply

    def _reply(self, reply: Any) -> None:
        if isinstance(reply, list) and self._on_push(reply):
            return
        if not self._pending:
            return
        future = self._pending.popleft()
        if future.done():
            return
        if isinstance(reply, hiredis.ReplyError):
            future.set_exception(CommandRefused(str(reply)))
        else:
            future.set_result(reply)

    async def _keep_up(self) -> None:
        failures = 0
        while True:
            try:
                transport, protocol = await self._connect()
                failures = 0
                self._up.set()
                self._on_up()
                await self._watch(transport, protocol)
            except (OSError, TimeoutError, hiredis.HiredisError) as error:
                level = logging.WARNING if failures == 0 else logging.DEBUG
                logger.log(level, "no connection to Redis: %s", str(error) or type(error).__name__)
            finally:
                self._disconnect()
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1

    async def _connect(self) -> tuple[asyncio.Transport, _RespProtocol]:
        loop, address = asyncio.get_running_loop(), self._address

        def factory() -> _RespProtocol:
            return _RespProtocol(self._reply, self._disconnect)

        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if address.path:
                made = await loop.create_unix_connection(factory, address.path)
            else:
                made = await loop.create_connection(factory, address.host, address.port, ssl=address.tls)
            self._transport, _ = made
            if address.password:
                login = (address.username, address.password) if address.username else (address.password,)
                await self._send(("AUTH", *login))
            if address.database:
                await self._send(("SELECT", str(address.database)))
            # Answered with an error while a server loads its data: not up yet, tried again.
            await self._send(("PING",))
            return made

    async def _watch(self, transport: asyncio.Transport, protocol: _RespProtocol) -> None:
        """Return when the connection is lost; end it when Redis has been silent for too long."""
        loop = asyncio.get_running_loop()
        while not protocol.lost.done():
            await asyncio.wait([protocol.lost], timeout=PING_INTERVAL_S)
            if loop.time() - protocol.heard_at > SILENCE_LIMIT_S:
                transport.abort()
            elif not protocol.lost.done():
                self._send(("PING",)).add_done_callback(_forget)

    def _disconnect(self) -> None:
        was_up = self._up.is_set()
        self._up.clear()
        if self._transport is not None:
            self._transport.abort()
        self._transport = None
        pending, self._pending = self._pending, deque()
        for future in pending:
            if not future.done():
                future.set_exception(RedisUnavailable("the connection to Redis broke"))
                future.exception()  # seen: a caller that has gone must not be reported as never retrieved
        if was_up:
            self._on_down()


def _forget(reply: asyncio.Future[Any]) -> None:
    if not reply.cancelled():
        reply.exception()
