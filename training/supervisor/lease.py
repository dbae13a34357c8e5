"""The lease of an attempt: renewed by a thread of its own, and enforced by this process's own clock."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self

from django.db import connection

from tenants.outages import DATABASE_ERRORS
from training.choices import RequestedAction
from training.engine.control import now
from training.queue.attempts import AttemptFencedError, lease_renew, requested_action

logger = logging.getLogger("cyllm.training")

POLL_S = 0.3
WATCH_S = 0.1
RENEWALS_PER_LEASE = 3


class LeaseKeeper:
    """Renews the lease of a claimed attempt, and reads the action that users request of it.

    ``on_renewed`` is called after each renewal. ``on_lost`` is called once, at the latest when the lease ends
    by this process's clock: it must end everything that acts for the attempt. Both run in threads of the
    keeper. A database outage shorter than the lease has no effect.
    """

    def __init__(
        self,
        token: uuid.UUID,
        *,
        lease_s: float,
        claimed_at: float,
        on_renewed: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self.action = RequestedAction.NONE
        self._token = token
        self._lease_s = lease_s
        self._valid_until = claimed_at + lease_s
        self._on_renewed, self._on_lost = on_renewed, on_lost
        self._ending = threading.Event()
        self._loss_event = threading.Event()
        self._lost_lock = threading.Lock()
        self._threads = [
            threading.Thread(target=target, name=target.__name__, daemon=True)
            for target in (self._renew_regularly, self._watch)
        ]

    @property
    def is_lost(self) -> bool:
        """True if the attempt may not act any more."""
        return self._loss_event.is_set() or now() >= self._valid_until

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _renew_regularly(self) -> None:
        next_renewal, is_outage = now() + self._lease_s / RENEWALS_PER_LEASE, False
        try:
            while not self._ending.wait(POLL_S) and not self._loss_event.is_set():
                try:
                    if now() >= next_renewal:
                        self._renew()
                        next_renewal = now() + self._lease_s / RENEWALS_PER_LEASE
                    self.action = requested_action(self._token)
                    is_outage = False
                except DATABASE_ERRORS as error:
                    if not is_outage:
                        logger.warning("the lease can't be renewed: %s", type(error).__name__)
                    is_outage = True
                    connection.close()
        except AttemptFencedError as error:
            self._lose(str(error))
        finally:
            connection.close()

    def _renew(self) -> None:
        started_at = now()
        lease_renew(self._token)
        self._valid_until = started_at + self._lease_s
        # After a long pause between the two, the trainer must not be given the whole lease again.
        if now() - started_at < self._lease_s / RENEWALS_PER_LEASE:
            self._on_renewed()

    def _watch(self) -> None:
        while not self._ending.wait(WATCH_S):
            if now() >= self._valid_until:
                self._lose("the lease was not renewed in time")
                return

    def _lose(self, reason: str) -> None:
        with self._lost_lock:
            if self._ending.is_set() or self._loss_event.is_set():
                return
            self._loss_event.set()
        logger.error("the attempt is abandoned: %s", reason)
        self._on_lost()
