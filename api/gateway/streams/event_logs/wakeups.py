"""Notifications to the log readers of this process that a log may have grown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from inference_worker.protocol import names
from inference_worker.transport.subscriber import Subscriber


class Wakeups:
    """Wakes readers of event logs. Notifications can be lost, so readers also poll."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    @contextmanager
    def watch(self, log_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever the log may have grown."""
        growth = asyncio.Event()
        subscription = self._subscriber.subscribe(
            names.stream_channel(log_id),
            lambda _: growth.set(),
            # Events appended before the confirmation cause no notification.
            on_subscribed=growth.set,
        )
        try:
            yield growth
        finally:
            self._subscriber.unsubscribe(subscription)
