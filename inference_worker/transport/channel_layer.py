"""A Channels layer over Redis pub/sub: ``send``, ``receive`` and ``new_channel`` as Channels specifies.

Unlike the stock layers, ``send`` takes one command and returns the number of receiving processes, and
receivers learn of lost messages (docs/decisions/0002-pubsub-channel-layer.md).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any

import msgspec

from inference_worker.transport.address import Address
from inference_worker.transport.redis_connection import RedisConnection, RedisUnavailableError
from inference_worker.transport.subscriber import Subscriber, Subscription

logger = logging.getLogger("cyllm.transport")

GAP: dict[str, Any] = {"type": "layer.gap"}
DEFAULT_CAPACITY = 20_000
_decoder = msgspec.msgpack.Decoder(dict[str, Any])


class NoReceiverError(Exception):
    """Raised if no process is subscribed to the channel: its owner has died."""


class _OpenChannel:
    """The unread messages of one channel, and the state of its subscription."""

    def __init__(self, subscriber: Subscriber, name: str, capacity: int) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.confirmation = asyncio.Event()
        self._capacity = capacity
        self.subscription: Subscription = subscriber.subscribe(
            name, self._deliver, on_subscribed=self.confirmation.set, on_gap=self._announce_gap
        )

    def _deliver(self, data: bytes) -> None:
        messages = self.messages
        if messages.qsize() < self._capacity:
            try:
                messages.put_nowait(_decoder.decode(data))
            except msgspec.DecodeError as error:
                logger.error("message ignored: %s", error)
            return
        while not messages.empty():
            messages.get_nowait()
        messages.put_nowait(GAP)

    def _announce_gap(self) -> None:
        self.confirmation.clear()
        self.messages.put_nowait(GAP)


class PubSubChannelLayer:
    """One per process and event loop. Delivery is at most once; ``layer.gap`` announces losses.

    Every open channel receives a gap when the connection is lost. A channel also receives one when it holds
    ``capacity`` unread messages, which are then dropped. The owner of ``subscriber`` starts and stops it.
    """

    extensions: list[str] = []

    def __init__(self, url: str, subscriber: Subscriber, capacity: int = DEFAULT_CAPACITY) -> None:
        self._subscriber = subscriber
        self._capacity = capacity
        self._channels: dict[str, _OpenChannel] = {}
        self._sender = RedisConnection(Address.from_url(url))
        self._encoder = msgspec.msgpack.Encoder()
        self._has_started = False

    @property
    def is_up(self) -> bool:
        """True if messages can be sent and received now."""
        return self._sender.is_up and self._subscriber.is_up

    async def start(self) -> None:
        """Connect the sender in the background. ``send`` does this as well."""
        if not self._has_started:
            self._has_started = True
            await self._sender.start()

    async def stop(self) -> None:
        """Close every channel and the sending connection. Unread messages are lost."""
        for channel in list(self._channels):
            self.close(channel)
        await self._sender.stop()

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return a channel name that is unique across processes."""
        return f"{prefix}.{secrets.token_hex(12)}"

    async def open(self, channel: str, timeout_s: float = 5.0) -> None:
        """Subscribe, and wait until messages can be received and sent.

        Raises RedisUnavailableError after ``timeout_s``.
        """
        await self.start()
        open_channel = self._channels.get(channel)
        if open_channel is None:
            open_channel = _OpenChannel(self._subscriber, channel, self._capacity)
            self._channels[channel] = open_channel
        try:
            async with asyncio.timeout(timeout_s):
                await open_channel.confirmation.wait()
                await self._sender.until_up()
        except TimeoutError:
            raise RedisUnavailableError("Redis can't be reached") from None

    def close(self, channel: str) -> None:
        """Unsubscribe. Later senders get NoReceiverError."""
        if open_channel := self._channels.pop(channel, None):
            self._subscriber.unsubscribe(open_channel.subscription)

    async def send(self, channel: str, message: dict[str, Any]) -> int:
        """Publish and return the number of receivers. Raises NoReceiverError, RedisUnavailableError."""
        await self.start()
        receivers: int = await self._sender.call("PUBLISH", channel, self._encoder.encode(message))
        if receivers == 0:
            raise NoReceiverError(channel)
        return receivers

    async def receive(self, channel: str) -> dict[str, Any]:
        """Return the next message on a channel, which is opened if necessary."""
        if channel not in self._channels:
            await self.open(channel)
        return await self._channels[channel].messages.get()

    def call(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """Send any other command on the sending connection. Raises RedisUnavailableError."""
        return self._sender.call(*command)
