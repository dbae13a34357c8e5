"""Progress of an attempt: rates, and the time left."""

from __future__ import annotations

import time

from training.engine.checkpoints.state import RunState, Window
from training.engine.events import Progress
from training.engine.hardware.device import LoadMeter
from training.engine.loop.trainer import StepResult


class ProgressMeter:
    """Measures one attempt. Steps of earlier attempts count as done, not as speed."""

    def __init__(self, total_steps: int, steps_per_epoch: int) -> None:
        self._total_steps = total_steps
        self._steps_per_epoch = steps_per_epoch
        self._load = LoadMeter()
        self._tokens = self._examples = self._steps = 0
        self._started_at = time.monotonic()

    def start(self) -> None:
        """Start the clock of this attempt's steps."""
        self._started_at = time.monotonic()

    def add(self, result: StepResult) -> None:
        """Count a step."""
        self._steps += 1
        self._tokens += result.tokens
        self._examples += result.examples

    def report(self, state: RunState, learning_rate: float, grad_norm: float) -> Progress:
        """Return the event after a step, with loss and accuracy since the last report. Resets the window."""
        elapsed_s = max(time.monotonic() - self._started_at, 1e-9)
        window, state.window = state.window, Window()
        load = self._load.measure()
        return Progress(
            step=state.step,
            total_steps=self._total_steps,
            epoch=state.step / self._steps_per_epoch,
            loss=window.loss / window.steps,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            token_accuracy=window.counts.token_accuracy,
            reward_accuracy=window.counts.reward_accuracy,
            reward_margin=window.counts.reward_margin,
            trained_tokens=state.trained_tokens,
            tokens_per_s=self._tokens / elapsed_s,
            samples_per_s=self._examples / elapsed_s,
            elapsed_s=elapsed_s,
            eta_s=elapsed_s / max(self._steps, 1) * (self._total_steps - state.step),
            memory_bytes=load.memory_bytes,
            gpu_utilization=load.gpu_utilization,
            gpu_memory_bytes=load.gpu_memory_bytes,
        )
