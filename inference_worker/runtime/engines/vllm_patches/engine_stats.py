"""The engine's statistics that the worker reports.

vLLM's own loggers update dozens of Prometheus metrics with each step, token and request, for an endpoint that
the worker doesn't have.
"""

from __future__ import annotations

from typing import Any


class EngineStats:
    """Values of each engine's last step. Has the methods of vLLM's ``StatLoggerManager``."""

    def __init__(self) -> None:
        self._kv_cache_use: dict[int, float] = {}

    def install(self, client: Any) -> None:
        """Replace the loggers of an AsyncLLM, also in its task that reads the engine's outputs."""
        client.logger_manager = client._logger_ref[0] = self

    @property
    def kv_cache_use(self) -> float | None:
        """The used part of the key-value cache, of the fullest engine; None before the first step."""
        return max(self._kv_cache_use.values(), default=None)

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
    ) -> None:
        """Take the statistics of a step."""
        del iteration_stats, mm_cache_stats
        if scheduler_stats is not None:
            self._kv_cache_use[engine_idx] = scheduler_stats.kv_cache_usage

    def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
        """Ignore sleep states, which the worker doesn't use."""

    def record_admission_rejection(self, reason: str) -> None:
        """Ignore rejections, which are answered with 503."""

    def log(self) -> None:
        """Log nothing."""
