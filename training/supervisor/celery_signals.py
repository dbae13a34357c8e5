"""The shutdown of a training worker, as announced by Celery."""

from __future__ import annotations

import threading
from typing import Any

from celery.signals import worker_shutting_down

DRAINING = threading.Event()


@worker_shutting_down.connect(weak=False)
def drain(**_: Any) -> None:
    """Ask running attempts to save and to stop at their next step; their jobs are queued again."""
    DRAINING.set()
