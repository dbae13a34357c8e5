"""Deadlines: a time limit for each stage of a request, and the error when it passes."""

from __future__ import annotations

import enum
import time

from api.gateway.settings import Limits
from api.openai.errors.service import FirstTokenTimeout, InterTokenTimeout, QueueTimeout, TotalTimeout


class Stage(enum.Enum):
    """The stages of an attempt. Each value is the error raised when the stage's limit passes."""

    QUEUE = QueueTimeout
    FIRST_TOKEN = FirstTokenTimeout
    INTER_TOKEN = InterTokenTimeout
    TOTAL = TotalTimeout


class Deadlines:
    """The clock of one request. Stages restart with each attempt, the total does not."""

    def __init__(self, limits: Limits, arrived_at: float, *, is_streamed: bool) -> None:
        self._limits = limits
        self._is_streamed = is_streamed
        self._arrived_at = arrived_at
        self._total_at = arrived_at + limits.total_timeout_s
        self._stage = Stage.QUEUE
        self._stage_started_at = arrived_at
        self._stage_at = arrived_at + limits.queue_timeout_s
        self.comment_at = self._next_comment(arrived_at)

    def remaining_s(self) -> float:
        """Return the time left."""
        return max(self._total_at - time.monotonic(), 0.0)

    def wait_s(self, now: float) -> float:
        """Return the time to wait for events until a limit or a comment is due."""
        return max(min(self._stage_at, self._total_at, self.comment_at) - now, 0.0)

    def restart(self) -> None:
        """Restart the stages for another attempt."""
        self._enter(Stage.QUEUE, self._limits.queue_timeout_s)

    def accept(self) -> None:
        """End the queue stage. A response that is not streamed has no first token, only the total limit."""
        if self._stage is not Stage.QUEUE:
            return
        if self._is_streamed:
            self._enter(Stage.FIRST_TOKEN, self._limits.first_token_timeout_s)
        else:
            self._enter(Stage.TOTAL, float("inf"))

    def record_token(self, now: float) -> None:
        """Restart the inter-token stage: tokens were sent to the client."""
        self._stage = Stage.INTER_TOKEN
        self._stage_started_at = now
        self._stage_at = now + self._limits.inter_token_timeout_s
        self.comment_at = now + self._limits.stream_comment_s

    def record_comment(self, now: float) -> None:
        """Schedule the next comment: one was sent to the client."""
        self.comment_at = self._next_comment(now)

    def check(self, now: float) -> None:
        """Raise the ApiError of the first limit that has passed."""
        if now >= self._total_at:
            raise TotalTimeout(elapsed_s=now - self._arrived_at, limit_s=self._limits.total_timeout_s)
        if now >= self._stage_at:
            limit_s = self._stage_at - self._stage_started_at
            raise self._stage.value(elapsed_s=now - self._stage_started_at, limit_s=limit_s)

    def _enter(self, stage: Stage, limit_s: float) -> None:
        self._stage = stage
        self._stage_started_at = time.monotonic()
        self._stage_at = self._stage_started_at + limit_s

    def _next_comment(self, now: float) -> float:
        return now + self._limits.stream_comment_s if self._is_streamed else float("inf")
