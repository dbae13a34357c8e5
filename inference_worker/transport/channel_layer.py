"""A Channels layer over Redis pub/sub: ``send``, ``receive`` and ``new_channel`` as Channels specifies.

Unlike the stock layers it says how many processes received a message, needs one command for it, and
tells receivers when something may have been lost (docs/decisions/0002-pubsub-channel-layer.md).
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import msgspec

from inference_worker.transport.address import Address
from inference_worker.transport.redis_connection import RedisConnection, RedisUnavailable

GAP: dict[str, Any] = {"type": "layer.gap"}
DEFAULT_CAPACITY = 20_000


class NoReceiver(Exception):
    """Nobody listens on the channel: the process it belonged to is gone."""


class PubSubChannelLayer:
    """One per process and event loop. Delivery is at most once; losses are announced by ``layer.gap``.

    A gap is announced on every open channel after its connection was lost, and on one channel when it
    held ``capacity`` unread messages and had to drop.
    """

    extensions: list[str] = []

    def __init__(self, url: str, capacity: int = DEFAULT_CAPACITY) -> None:
        address = Address.from_url(url)
        self._capacity = capacity
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._subscribed: dict[str, asyncio.Event] = {}
        self._sender = RedisConnection(address)
        self._listener = RedisConnection(
            address, on_up=self._subscribe_all, on_down=self._announce_gap, on_push=self._pushed
        )
        self._encoder = msgspec.msgpack.Encoder()
        self._started = False

    @property
    def is_up(self) -> bool:
        """Whether both directions are connected."""
        return self._sender.is_up and self._listener.is_up

    async def start(self) -> None:
        """Connect in the background; also done by the first use."""
        if not self._started:
            self._started = True
            await self._sender.start()
            await self._listener.start()

    async def stop(self) -> None:
        """Close both connections. Messages that were not received are gone."""
        await self._listener.stop()
        await self._sender.stop()

    async def new_channel(self, prefix: str = "specific") -> str:
        """A channel name that no other process has."""
        return f"{prefix}.{secrets.token_hex(12)}"

    async def open(self, channel: str, timeout_s: float = 5.0) -> None:
        """Subscribe, and return when Redis has confirmed. Raises RedisUnavailable after ``timeout_s``."""
        await self.start()
        if channel not in self._queues:
            self._queues[channel] = asyncio.Queue()
            self._subscribed[channel] = asyncio.Event()
            if self._listener.is_up:
                self._subscribe(channel)
        try:
            async with asyncio.timeout(timeout_s):
                await self._subscribed[channel].wait()
        except TimeoutError:
            raise RedisUnavailable("Redis can't be reached") from None

    def close(self, channel: str) -> None:
        """Unsubscribe: whoever sends there from now on is told that nobody listens."""
        self._queues.pop(channel, None)
        self._subscribed.pop(channel, None)
        if self._listener.is_up:
            self._listener.call_push("UNSUBSCRIBE", channel)

    async def send(self, channel: str, message: dict[str, Any]) -> int:
        """Publish; returns the number of receivers. Raises NoReceiver, RedisUnavailable."""
        await self.start()
        received: int = await self._sender.call("PUBLISH", channel, self._encoder.encode(message))
        if received == 0:
            raise NoReceiver(channel)
        return received

    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message on a channel; opens it if need be."""
        if channel not in self._queues:
            await self.open(channel)
        return await self._queues[channel].get()

    def call(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """Any other command on the sending connection. Raises RedisUnavailable."""
        return self._sender.call(*command)

    def _subscribe_all(self) -> None:
        for channel in self._queues:
            self._subscribe(channel)

    def _subscribe(self, channel: str) -> None:
        self._listener.call_push("SUBSCRIBE", channel)

    def _announce_gap(self) -> None:
        for channel, queue in self._queues.items():
            self._subscribed[channel].clear()
            queue.put_nowait(GAP)

    def _pushed(self, reply: list[Any]) -> bool:
        kind = reply[0]
        if kind == b"message":
            self._deliver(reply[1].decode(), reply[2])
        elif kind == b"subscribe":
            if event := self._subscribed.get(reply[1].decode()):
                event.set()
        elif kind != b"unsubscribe":
            return False  # the reply to a PING, which in this mode is a list as well
        return True

    def _deliver(self, channel: str, data: bytes) -> None:
        queue = self._queues.get(channel)
        if queue is None:
            return
        if queue.qsize() >= self._capacity:
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(GAP)
            return
        queue.put_nowait(msgspec.msgpack.decode(data))
