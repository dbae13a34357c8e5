"""Writes the worker's heartbeat to Redis from a thread, so a busy event loop does not look dead."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import redis

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Heartbeat, WorkerState

logger = logging.getLogger("cyllm.worker.heartbeat")

REDIS_TIMEOUT_S = 2.0


@dataclass
class WorkerReport:
    """The contents of the heartbeat; written by the event loop, read by the thread."""

    worker_id: str
    models: tuple[str, ...]
    engine: str
    hardware: str
    boot: str = ""
    channel: str = ""
    state: WorkerState = WorkerState.STARTING
    max_model_len: int = 0
    operations: tuple[str, ...] = ()
    sampling_defaults: Mapping[str, float] = field(default_factory=dict)
    template_variables: tuple[str, ...] | None = None
    template_tokens: int | None = None
    template_option_tokens: int | None = None
    max_lora_rank: int = 0
    dtype: str = ""
    adapters: tuple[str, ...] = ()
    running: int = 0
    waiting: int = 0
    kv_cache_use: float | None = None
    stage: str = "starting"
    stage_start: float = field(default_factory=time.monotonic)
    last_loop_turn: float = field(default_factory=time.monotonic)

    def enter_stage(self, stage: str) -> None:
        """Report the current stage in the log and in the heartbeat."""
        now = time.monotonic()
        logger.info("%s (previous stage: %.1f s)", stage, now - self.stage_start)
        self.stage, self.stage_start = stage, now

    def message(self) -> Heartbeat:
        """Return the current heartbeat."""
        now = time.monotonic()
        return Heartbeat(
            worker_id=self.worker_id,
            boot=self.boot,
            channel=self.channel,
            state=self.state,
            models=self.models,
            max_model_len=self.max_model_len,
            running=self.running,
            waiting=self.waiting,
            stage=self.stage,
            stage_s=round(now - self.stage_start, 3),
            loop_lag_s=round(now - self.last_loop_turn, 3),
            engine=self.engine,
            hardware=self.hardware,
            written_at=time.time(),
            operations=self.operations,
            sampling_defaults=dict(self.sampling_defaults),
            template_variables=self.template_variables,
            template_tokens=self.template_tokens,
            template_option_tokens=self.template_option_tokens,
            max_lora_rank=self.max_lora_rank,
            adapters=self.adapters,
            dtype=self.dtype,
            kv_cache_use=self.kv_cache_use,
        )


class HeartbeatThread(threading.Thread):
    """Writes the status every ``names.HEARTBEAT_INTERVAL_S`` and whenever ``write_now`` is called."""

    def __init__(self, url: str, status: WorkerReport) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._redis = redis.Redis.from_url(
            url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        )
        self._status = status
        self._wake = threading.Event()
        self._stop_requested = threading.Event()
        self._removes_entry = True
        self._is_reachable = True

    def write_now(self) -> None:
        """Write without waiting for the next interval."""
        self._wake.set()

    def stop(self, *, remove: bool) -> None:
        """Stop. ``remove`` deletes the entry, else it is written once more and expires."""
        self._removes_entry = remove
        self._stop_requested.set()
        self._wake.set()
        self.join(timeout=2 * REDIS_TIMEOUT_S)

    def run(self) -> None:
        while not self._stop_requested.is_set():
            self._attempt(self._write)
            self._wake.wait(names.HEARTBEAT_INTERVAL_S)
            self._wake.clear()
        self._attempt(self._remove if self._removes_entry else self._write)
        self._redis.close()

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except redis.RedisError as error:
            if self._is_reachable:
                logger.warning("can't write the heartbeat: %s", type(error).__name__)
            self._is_reachable = False
        else:
            if not self._is_reachable:
                logger.info("writing the heartbeat again")
            self._is_reachable = True

    def _write(self) -> None:
        message = self._status.message()
        with self._redis.pipeline(transaction=False) as pipe:
            key, value = names.worker_key(message.worker_id), codec.encode(message)
            pipe.set(key, value, px=int(names.HEARTBEAT_EXPIRY_S * 1000))
            pipe.set(names.last_seen_key(message.worker_id), value, ex=int(names.LAST_SEEN_EXPIRY_S))
            pipe.zadd(names.WORKER_INDEX, {message.worker_id: message.written_at})
            pipe.execute()

    def _remove(self) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            worker_id = self._status.worker_id
            pipe.delete(names.worker_key(worker_id), names.last_seen_key(worker_id))
            pipe.zrem(names.WORKER_INDEX, self._status.worker_id)
            pipe.execute()
