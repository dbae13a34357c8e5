"""The pub/sub connection of a process: one Redis connection, shared by every subscription."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inference_worker.transport.address import Address
from inference_worker.transport.redis_connection import RedisConnection

logger = logging.getLogger("cyllm.transport")


def _ignore() -> None:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One handler of one channel, and the handle for ``unsubscribe``."""

    channel: bytes
    on_message: Callable[[bytes], None]
    on_subscribed: Callable[[], None]
    on_gap: Callable[[], None]


class Subscriber:
    """Delivers the messages of Redis channels to handlers. Resubscribes after every reconnect.

    Delivery is at most once. A handler receives every message published between a call of its
    ``on_subscribed`` and the next call of its ``on_gap``. Callbacks run in the event loop and must not block.
    """

    def __init__(self, url: str) -> None:
        # Tuples are replaced rather than changed, so a callback may subscribe or unsubscribe.
        self._subscriptions: dict[bytes, tuple[Subscription, ...]] = {}
        self._pending_subscribes: Counter[bytes] = Counter()  # SUBSCRIBE commands without a reply, by channel
        self._connection = RedisConnection(
            Address.from_url(url),
            on_up=self._subscribe_all,
            on_down=self._announce_gap,
            on_array=self._dispatch,
        )

    @property
    def is_up(self) -> bool:
        """True if the connection is up, though some subscriptions may still be unconfirmed."""
        return self._connection.is_up

    async def start(self) -> None:
        """Connect in the background."""
        await self._connection.start()

    async def stop(self) -> None:
        """Close the connection. Announces a gap to the remaining subscriptions."""
        await self._connection.stop()

    def subscribe(
        self,
        channel: str,
        on_message: Callable[[bytes], None],
        *,
        on_subscribed: Callable[[], None] = _ignore,
        on_gap: Callable[[], None] = _ignore,
    ) -> Subscription:
        """Add a handler to a channel; the connection need not be up.

        ``on_subscribed`` is called whenever Redis confirms the subscription, and at once if it has done so.
        ``on_gap`` is called when the connection is lost, and when ``on_message`` raises.
        """
        subscription = Subscription(channel.encode(), on_message, on_subscribed, on_gap)
        existing = self._subscriptions.get(subscription.channel, ())
        self._subscriptions[subscription.channel] = (*existing, subscription)
        if not existing:
            self._send_subscribe(subscription.channel)
        elif self.is_up and subscription.channel not in self._pending_subscribes:
            on_subscribed()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a handler, and the channel with its last one. A second call does nothing."""
        channel = subscription.channel
        existing = self._subscriptions.get(channel, ())
        remaining = tuple(other for other in existing if other is not subscription)
        if remaining:
            self._subscriptions[channel] = remaining
        elif existing:
            del self._subscriptions[channel]
            if self.is_up:
                self._connection.send_pubsub_command("UNSUBSCRIBE", channel)

    def _subscribe_all(self) -> None:
        if self._subscriptions:
            self._send_subscribe(*self._subscriptions)

    def _send_subscribe(self, *channels: bytes) -> None:
        if self.is_up:  # otherwise _subscribe_all does it on connect
            self._connection.send_pubsub_command("SUBSCRIBE", *channels)
            self._pending_subscribes.update(channels)

    def _announce_gap(self) -> None:
        self._pending_subscribes.clear()
        for subscriptions in list(self._subscriptions.values()):
            for subscription in subscriptions:
                subscription.on_gap()

    def _dispatch(self, reply: list[Any]) -> bool:
        kind = reply[0]
        if kind == b"message":
            for subscription in self._subscriptions.get(reply[1], ()):
                try:
                    subscription.on_message(reply[2])
                except Exception:
                    # Left to asyncio, an exception would close the connection that all handlers share.
                    logger.exception("message on %s not handled", reply[1].decode(errors="replace"))
                    subscription.on_gap()
        elif kind == b"subscribe":
            self._confirm(reply[1])
        elif kind != b"unsubscribe":
            return False  # in pub/sub mode, the reply to PING is an array as well
        return True

    def _confirm(self, channel: bytes) -> None:
        self._pending_subscribes[channel] -= 1
        if self._pending_subscribes[channel] > 0:
            return  # the reply to a SUBSCRIBE that a later UNSUBSCRIBE has cancelled
        del self._pending_subscribes[channel]
        for subscription in self._subscriptions.get(channel, ()):
            subscription.on_subscribed()
