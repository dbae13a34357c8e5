"""A persistent connection to Redis: raw RESP2 on an asyncio protocol, parsed by hiredis.

redis-py costs 100 µs and more per command (docs/decisions/0002-pubsub-channel-layer.md). Every token
passes through here, so this module shares redis-py's parser but not its client.
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
PING_INTERVAL_S = 1.0
UNANSWERED_CHECKS = 3
BACKOFF_S = (0.05, 0.1, 0.2, 0.4)

_INCOMPLETE = object()


class RedisUnavailableError(ConnectionError):
    """Redis can't be reached, or the connection broke before the reply arrived."""


class CommandRejectedError(RedisUnavailableError):
    """Redis replied with an error such as busy, loading or no permission.

    A subclass because most callers treat it as an unavailable server.
    """


class _RespProtocol(asyncio.Protocol):
    """Parses received bytes into replies."""

    def __init__(self, on_reply: Callable[[Any], None], on_disconnect: Callable[[], None]) -> None:
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._on_reply, self._on_disconnect = on_reply, on_disconnect
        self.disconnection: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received_chunks = 0

    def data_received(self, data: bytes) -> None:
        self.received_chunks += 1
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not _INCOMPLETE:
            self._on_reply(reply)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.disconnection.done():
            self.disconnection.set_result(None)
        self._on_disconnect()


class RedisConnection:
    """One connection, re-established until ``stop``. Commands are pipelined; replies arrive in order."""

    def __init__(
        self,
        address: Address,
        *,
        on_up: Callable[[], None] = lambda: None,
        on_down: Callable[[], None] = lambda: None,
        on_array: Callable[[list[Any]], bool] = lambda _: False,
    ) -> None:
        """``on_array`` gets every array reply first, and returns true if it is part of pub/sub."""
        self._address = address
        self._on_up, self._on_down, self._on_array = on_up, on_down, on_array
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.WriteTransport | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def is_up(self) -> bool:
        """True if commands can be sent now."""
        transport = self._transport
        return self._ready.is_set() and transport is not None and not transport.is_closing()

    async def until_up(self) -> None:
        """Wait until commands can be sent."""
        await self._ready.wait()

    async def start(self) -> None:
        """Start connecting in the background."""
        self._task = asyncio.create_task(self._maintain(), name="redis-connection")

    async def stop(self) -> None:
        """Close the connection and stop reconnecting."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._disconnect()

    def call(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """Send a command, return the future of its reply. Raises RedisUnavailableError if not connected."""
        if not self.is_up:
            raise RedisUnavailableError("Redis can't be reached")
        return self._send(command)

    def send_pubsub_command(self, *command: str | bytes) -> None:
        """Send SUBSCRIBE or UNSUBSCRIBE, whose replies go to ``on_array``.

        Raises RedisUnavailableError if not connected.
        """
        if self._transport is None or not self.is_up:
            raise RedisUnavailableError("Redis can't be reached")
        self._transport.write(hiredis.pack_command(command))

    def _send(self, command: tuple[str | bytes | int | float, ...]) -> asyncio.Future[Any]:
        if self._transport is None:
            raise RedisUnavailableError("the connection to Redis broke")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append(reply)
        self._transport.write(hiredis.pack_command(command))
        return reply

    def _receive(self, reply: Any) -> None:
        if isinstance(reply, list) and self._on_array(reply):
            return
        if not self._pending:
            return
        future = self._pending.popleft()
        if future.done():
            return
        if isinstance(reply, hiredis.ReplyError):
            future.set_exception(CommandRejectedError(str(reply)))
        else:
            future.set_result(reply)

    async def _maintain(self) -> None:
        failures = 0
        while True:
            try:
                transport, protocol = await self._connect()
                failures = 0
                self._ready.set()
                self._on_up()
                await self._watch(transport, protocol)
            except (OSError, TimeoutError, hiredis.HiredisError) as error:
                level = logging.WARNING if failures == 0 else logging.DEBUG
                logger.log(level, "can't connect to Redis: %s", str(error) or type(error).__name__)
            finally:
                self._disconnect()
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1

    async def _connect(self) -> tuple[asyncio.Transport, _RespProtocol]:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            transport, protocol = await self._open_socket()
            self._transport = transport
            address = self._address
            if address.password:
                login = (address.username, address.password) if address.username else (address.password,)
                await self._send(("AUTH", *login))
            if address.database:
                await self._send(("SELECT", str(address.database)))
            # A server that is loading its data replies with an error, so this attempt fails and is repeated.
            await self._send(("PING",))
            return transport, protocol

    async def _open_socket(self) -> tuple[asyncio.Transport, _RespProtocol]:
        loop, address = asyncio.get_running_loop(), self._address

        def factory() -> _RespProtocol:
            return _RespProtocol(self._receive, self._disconnect)

        if address.path:
            return await loop.create_unix_connection(factory, address.path)
        return await loop.create_connection(factory, address.host, address.port, ssl=address.tls)

    async def _watch(self, transport: asyncio.Transport, protocol: _RespProtocol) -> None:
        """Return when the connection is lost. Abort it if a PING stays unanswered.

        Counts checks rather than seconds: the socket is polled between two checks, so a stall of this process
        counts as one check, however long, and what Redis has sent meanwhile is read.
        """
        unanswered_checks, chunks = 0, protocol.received_chunks
        while not protocol.disconnection.done():
            if unanswered_checks == 0:
                self._send(("PING",)).add_done_callback(_ignore_error)
            await asyncio.wait([protocol.disconnection], timeout=PING_INTERVAL_S)
            unanswered_checks = unanswered_checks + 1 if protocol.received_chunks == chunks else 0
            chunks = protocol.received_chunks
            if unanswered_checks >= UNANSWERED_CHECKS:
                transport.abort()

    def _disconnect(self) -> None:
        was_up = self._ready.is_set()
        self._ready.clear()
        if self._transport is not None:
            self._transport.abort()
        self._transport = None
        pending, self._pending = self._pending, deque()
        for future in pending:
            if not future.done():
                future.set_exception(RedisUnavailableError("the connection to Redis broke"))
                future.exception()  # a caller that stopped waiting causes no "never retrieved" warning
        if was_up:
            self._on_down()


def _ignore_error(reply: asyncio.Future[Any]) -> None:
    if not reply.cancelled():
        reply.exception()
