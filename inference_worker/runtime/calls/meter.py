"""Counts the usage of an attempt at the engine's output."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from inference_worker.protocol.messages import Meter

current_meter: ContextVar[CallMeter | None] = ContextVar("current_meter", default=None)

MAX_TOKEN_COUNT = 2**31 - 1


class CallMeter:
    """The meter of one attempt, which adds up its prompts and choices."""

    def __init__(self, on_accepted: Callable[[], None]) -> None:
        self._on_accepted = on_accepted
        self._start = time.monotonic()
        self._is_accepted = False
        self._first_token_s: float | None = None
        self._queue_s: float | None = None
        self._wait_s = 0.0
        self._prompt_tokens: dict[str, int] = {}
        self._cached_tokens: dict[str, int] = {}
        self._completion_tokens: dict[str, int] = {}

    def observe_acceptance(self) -> None:
        """Note that the engine has accepted the call, or a part of it."""
        if not self._is_accepted:
            self._is_accepted = True
            self._on_accepted()

    def observe_start(self) -> None:
        """Record that the call enters the engine, after the wait for its tenant's share."""
        self._wait_s = time.monotonic() - self._start

    def observe_output(self, output: Any) -> None:
        """Count a vLLM RequestOutput. A stream yields deltas, any other call one output at its end."""
        part = output.request_id
        new = sum(len(choice.token_ids) for choice in output.outputs)
        if part not in self._prompt_tokens:
            self._prompt_tokens[part] = len(output.prompt_token_ids or ())
            self._cached_tokens[part] = output.num_cached_tokens or 0
            self._observe_times(output.metrics)
        if new and self._first_token_s is None:
            self._first_token_s = time.monotonic() - self._start
        self._completion_tokens[part] = self._completion_tokens.get(part, 0) + new

    def observe_pooled(self, output: Any) -> None:
        """Count a vLLM PoolingRequestOutput: a prompt, and no completion."""
        self._prompt_tokens[output.request_id] = len(output.prompt_token_ids or ())
        self._cached_tokens[output.request_id] = output.num_cached_tokens or 0

    def _observe_times(self, times: Any) -> None:
        """Use vLLM's own times: a call that is not streamed yields a single output, at its end."""
        if times is None or not times.scheduled_ts:
            return
        queue_s = self._wait_s + times.scheduled_ts - times.queued_ts
        self._queue_s = max(self._queue_s or 0.0, queue_s)
        if times.first_token_latency:
            first_token_s = self._wait_s + times.first_token_latency
            self._first_token_s = max(self._first_token_s or 0.0, first_token_s)

    def observe_usage(self, usage: dict[str, Any]) -> None:
        """Take the ``usage`` object of a remote engine, which counts the whole call so far."""
        self._prompt_tokens["remote"] = _token_count(usage.get("prompt_tokens"))
        self._completion_tokens["remote"] = _token_count(usage.get("completion_tokens"))
        details = usage.get("prompt_tokens_details")
        self._cached_tokens["remote"] = (
            _token_count(details.get("cached_tokens")) if isinstance(details, dict) else 0
        )

    def observe_first_token(self) -> None:
        """Note the first content of a remote engine."""
        if self._first_token_s is None:
            self._first_token_s = time.monotonic() - self._start

    def observe_chunk(self) -> None:
        """Count a chunk of a remote engine as one token, until the engine reports its usage."""
        self._completion_tokens["remote"] = self._completion_tokens.get("remote", 0) + 1

    def observe_generated(self, part: str, tokens: int, prompt_tokens: int) -> None:
        """Take the engine's count for a part without output so far, as in a call that is not streamed."""
        self._completion_tokens[part] = max(self._completion_tokens.get(part, 0), tokens)
        self._prompt_tokens.setdefault(part, prompt_tokens)

    def reading(self) -> Meter:
        """Return the usage so far."""
        return Meter(
            prompt_tokens=sum(self._prompt_tokens.values()),
            completion_tokens=sum(self._completion_tokens.values()),
            cached_tokens=sum(self._cached_tokens.values()),
            queue_s=self._queue_s,
            first_token_s=self._first_token_s,
            total_s=time.monotonic() - self._start,
        )


def _token_count(value: object) -> int:
    """Return a count that a remote engine reports, 0 if it can't be one."""
    return value if isinstance(value, int) and 0 <= value <= MAX_TOKEN_COUNT else 0
