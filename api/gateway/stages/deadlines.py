"""How long each stage of a request may take, and which limit was passed."""

from __future__ import annotations

import enum
import time

from api.gateway.stages.limits import Limits
from api.openai.errors.service import FirstTokenTimeout, InterTokenTimeout, QueueTimeout, TotalTimeout


class Stage(enum.Enum):
    """What an attempt is waiting for; each value is the error raised when its limit passes."""

    QUEUE = QueueTimeout
    FIRST_TOKEN = FirstTokenTimeout
    INTER_TOKEN = InterTokenTimeout
    TOTAL = TotalTimeout


class Deadlines:
    """The clock of one request. Stages begin anew with each attempt, the total never does."""

    def __init__(self, limits: Limits, begun: float, *, streamed: bool) -> None:
        self._limits = limits
        self._streamed = streamed
        self._begun = begun
        self._total_at = begun + limits.total_timeout_s
        self._stage = Stage.QUEUE
        self._stage_begun = begun
        self._stage_at = begun + limits.queue_timeout_s
        self.comment_at = self._next_comment(begun)

    def remaining_s(self) -> float:
        """What is left of the total time."""
        return max(self._total_at - time.monotonic(), 0.0)

    def wait_s(self, now: float) -> float:
        """How long to wait for events until something is due."""
        return max(min(self._stage_at, self._total_at, self.comment_at) - now, 0.0)

    def attempted_again(self) -> None:
        """Another worker is asked: its queue is a new one."""
        self._enter(Stage.QUEUE, self._limits.queue_timeout_s)

    def accepted(self) -> None:
        """The engine has the request. Answers that aren't streamed show no tokens before the end."""
        if self._stage is not Stage.QUEUE:
            return
        if self._streamed:
            self._enter(Stage.FIRST_TOKEN, self._limits.first_token_timeout_s)
        else:
            self._enter(Stage.TOTAL, float("inf"))

    def token(self, now: float) -> None:
        """Something was sent to the client."""
        self._stage = Stage.INTER_TOKEN
        self._stage_begun = now
        self._stage_at = now + self._limits.inter_token_timeout_s
        self.comment_at = now + self._limits.stream_comment_s

    def commented(self, now: float) -> None:
        """A comment line was sent."""
        self.comment_at = self._next_comment(now)

    def check(self, now: float) -> None:
        """Raise ApiError for the first limit that has passed."""
        if now >= self._total_at:
            raise TotalTimeout(elapsed_s=now - self._begun, limit_s=self._limits.total_timeout_s)
        if now >= self._stage_at:
            limit_s = self._stage_at - self._stage_begun
            raise self._stage.value(elapsed_s=now - self._stage_begun, limit_s=limit_s)

    def _enter(self, stage: Stage, limit_s: float) -> None:
        self._stage = stage
        self._stage_begun = time.monotonic()
        self._stage_at = self._stage_begun + limit_s

    def _next_comment(self, now: float) -> float:
        return now + self._limits.stream_comment_s if self._streamed else float("inf")
