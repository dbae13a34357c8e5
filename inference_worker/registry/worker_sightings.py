"""Workers as administrators see them: those alive, and those lost within the last hour."""

from __future__ import annotations

from dataclasses import dataclass

import redis
from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from inference_worker.client.worker_directory import is_responsive
from inference_worker.protocol import names
from inference_worker.protocol.messages import Heartbeat, WorkerState
from inference_worker.transport.heartbeats import parse_heartbeat

TIMEOUT_S = 2.0


class WorkerStatus(models.TextChoices):
    """States of a worker, judged by its heartbeats and their age."""

    STARTING = "starting", _("starting")
    LOADING = "loading", _("loading")
    READY = "ready", _("ready")
    DRAINING = "draining", _("draining")
    FAILED = "failed", _("failed")
    HUNG = "hung", _("not responding")
    LOST = "lost", _("lost")


@dataclass(frozen=True, slots=True)
class WorkerSighting:
    """A worker and its last heartbeat, None if that is too old or of another version.

    ``seen_s``: seconds since the last heartbeat by Redis's clock. ``is_live``: the heartbeat has not expired.
    """

    worker_id: str
    seen_s: float
    is_live: bool
    heartbeat: Heartbeat | None

    @property
    def status(self) -> WorkerStatus:
        """The worker's state: lost without a live heartbeat, whatever the last one said."""
        if not self.is_live or self.heartbeat is None:
            return WorkerStatus.LOST
        if self.heartbeat.state is WorkerState.READY and not is_responsive(self.heartbeat):
            return WorkerStatus.HUNG
        return WorkerStatus(self.heartbeat.state.value)


def worker_sightings(redis_url: str) -> list[WorkerSighting]:
    """Return the live workers and those lost within the last hour, by id. Raises redis.RedisError."""
    with redis.Redis.from_url(
        redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
    ) as client:
        ids = [str(name, "utf-8") for name in client.zrange(names.WORKER_INDEX, 0, -1)]
        if not ids:
            return []
        last_keys = [names.last_seen_key(worker_id) for worker_id in ids]
        with client.pipeline(transaction=False) as pipeline:
            pipeline.mget([*map(names.worker_key, ids), *last_keys])
            for key in last_keys:
                pipeline.pttl(key)
            values, *expiries_ms = pipeline.execute()
    rows = zip(ids, values[: len(ids)], values[len(ids) :], expiries_ms, strict=True)
    return sorted((_sighting(*row) for row in rows), key=lambda sighting: sighting.worker_id)


def live_workers(redis_url: str) -> list[Heartbeat]:
    """Return the heartbeats that have not expired, ordered by worker. Raises redis.RedisError."""
    sightings = worker_sightings(redis_url)
    return [sighting.heartbeat for sighting in sightings if sighting.is_live and sighting.heartbeat]


def platform_workers() -> list[WorkerSighting] | None:
    """Return the workers that the platform's Redis knows, by id; None while Redis is unavailable."""
    try:
        return worker_sightings(settings.CYLLM.redis_url)
    except redis.RedisError:
        return None


def _sighting(worker_id: str, live: bytes | None, last: bytes | None, expiry_ms: int) -> WorkerSighting:
    heartbeat = parse_heartbeat(live)
    # The key is set anew by every heartbeat, so its expiry tells the age by Redis's clock.
    age_s = names.LAST_SEEN_EXPIRY_S - expiry_ms / 1000 if expiry_ms >= 0 else names.LAST_SEEN_EXPIRY_S
    return WorkerSighting(
        worker_id, max(0.0, age_s), heartbeat is not None, heartbeat or parse_heartbeat(last)
    )
