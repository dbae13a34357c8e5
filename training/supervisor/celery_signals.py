"""The shutdown of a training worker, as announced by Celery."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_shutting_down


class Flag:
    """An event without the lock of ``threading.Event``, which a second signal in its midst would wait for."""

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it."""
        self._is_set = True

    def clear(self) -> None:
        """Reset it."""
        self._is_set = False


DRAINING = Flag()


@worker_shutting_down.connect(weak=False)
def drain(**_: Any) -> None:
    """Ask running attempts to save and to stop at their next step; their jobs are queued again.

    Celery calls it in a signal handler.
    """
    DRAINING.set()
