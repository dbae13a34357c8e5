"""Heartbeats of workers that don't run, so that models have states: two workers are ready, one was lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from tests.console.harness.heartbeats import beat, heartbeat, lose
from tests.console.harness.sample_site import BASE_MODEL

INTERVAL_S = 2.0
LOST_AGO_S = 56


@contextmanager
def sample_workers(redis_url: str) -> Iterator[None]:
    """Write heartbeats until the end of the block."""
    stop = threading.Event()
    with redis.Redis.from_url(redis_url, socket_timeout=30) as client:
        last_beat = heartbeat("worker-3", models=("llama-3.2-1b",), written_at=time.time() - LOST_AGO_S)
        beat(client, last_beat)
        lose(client, "worker-3", LOST_AGO_S)

        def write() -> None:
            while not stop.is_set():
                for worker_id, model in (("worker-1", BASE_MODEL), ("worker-2", "embed-small")):
                    beat(client, heartbeat(worker_id, models=(model,), written_at=time.time()))
                stop.wait(INTERVAL_S)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
