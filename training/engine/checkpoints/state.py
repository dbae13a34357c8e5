"""State of a run beside its tensors: everything a resumed run needs to go on as if never interrupted."""

from __future__ import annotations

from typing import Any

import msgspec

from training.engine.counts import Counts


class Window(msgspec.Struct, frozen=True):
    """Sums over the optimizer steps since the last report of progress."""

    steps: int = 0
    loss: float = 0.0
    counts: Counts = Counts()

    def add(self, loss: float, counts: Counts) -> Window:
        """Return the sums with another step added."""
        return Window(self.steps + 1, self.loss + loss, self.counts + counts)


class Score(msgspec.Struct, frozen=True):
    """Mean loss and token accuracy after ``step`` optimizer steps.

    ``token_loss``: mean cross entropy of trained tokens. ``reward_accuracy``, ``reward_margin``: of pairs.
    """

    step: int
    loss: float
    token_accuracy: float
    token_loss: float | None = None
    reward_accuracy: float | None = None
    reward_margin: float | None = None


class RunState(msgspec.Struct, kw_only=True):
    """Counters of a run after ``step`` optimizer steps.

    ``device``, ``precision``, ``is_packed``, ``uses_onednn``, ``micro_batch_tokens``, ``threads`` and
    ``lanes`` are the choices of the first attempt that change the rounding, so later ones keep them; empty or
    None: not chosen yet.
    """

    fingerprint: str  # digest of all that determines the weights
    step: int = 0
    trained_tokens: int = 0
    threads: int = 1
    micro_batch_tokens: int = 0
    lanes: int = 0
    device: str = ""  # "cpu" or "cuda"
    hardware: str = ""  # of the first attempt
    precision: str = ""
    is_packed: bool | None = None
    uses_onednn: bool | None = None
    base: Score | None = None
    latest: Score | None = None
    best: Score | None = None
    train: Score | None = None
    window: Window = Window()  # sums for the next report
    reference_loss: float | None = None
    unimproved: int = 0  # evaluations since the loss last improved by the threshold over ``reference_loss``
    skipped_steps: int = 0  # consecutive ones, up to now
    scheduler: dict[str, Any] = {}
    optimizer_groups: list[dict[str, Any]] = []
    scaler: dict[str, Any] = {}


def encode_state(state: RunState) -> bytes:
    """Return a state as JSON. Floats keep every bit."""
    return msgspec.json.format(msgspec.json.encode(state), indent=1)


def decode_state(data: bytes) -> RunState:
    """Return the state in JSON. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=RunState)
