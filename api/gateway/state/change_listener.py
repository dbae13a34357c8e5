"""Notifications of changed keys, tenants, models, streams and jobs, passed on to those who use them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from inference_worker.protocol import names
from inference_worker.transport.subscriber import Subscriber, Subscription

logger = logging.getLogger("cyllm.gateway.changes")


class ChangeListener:
    """Calls ``on_key(prefix)``, ``on_tenant()``, ``on_models()`` or ``on_job(id)`` after a change.

    Calls ``on_stream(id)`` after a cancellation, and ``on_gap()`` when changes may have been missed. While
    Redis is unavailable, only the age limit of the caches protects against stale entries.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        *,
        on_key: Callable[[str], None],
        on_tenant: Callable[[], None],
        on_models: Callable[[], None],
        on_stream: Callable[[str], None],
        on_job: Callable[[str], None],
        on_gap: Callable[[], None],
    ) -> None:
        self._subscriber = subscriber
        self._subscription: Subscription | None = None
        self._on_key, self._on_tenant, self._on_models, self._on_gap = on_key, on_tenant, on_models, on_gap
        self._on_stream, self._on_job = on_stream, on_job

    async def start(self) -> None:
        """Subscribe."""
        self._subscription = self._subscriber.subscribe(
            names.CHANGES_CHANNEL,
            self._apply,
            # Changes before the confirmation may have been missed.
            on_subscribed=self._on_gap,
            on_gap=self._on_gap,
        )

    async def stop(self) -> None:
        """Unsubscribe."""
        if self._subscription:
            self._subscriber.unsubscribe(self._subscription)

    def _apply(self, data: bytes) -> None:
        kind, _, name = data.decode(errors="replace").partition(" ")
        if kind == "key":
            self._on_key(name)
        elif kind == "tenant":
            self._on_tenant()
        elif kind == "models":
            self._on_models()
        elif kind == "stream":
            self._on_stream(name)
        elif kind == "job":
            self._on_job(name)
        elif kind != "adapter":  # which concerns workers
            logger.warning("change of an unknown kind: clearing all caches")
            self._on_gap()
