"""Context of one attempt: its spec, its channel to the supervisor, its checkpoints and state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.engine.checkpoints.state import RunState
from training.engine.checkpoints.store import CheckpointStore
from training.engine.control import Control
from training.engine.event_stream import EventStream
from training.engine.events import Choice, Warned
from training.engine.spec import TrainingSpec

KEPT = "as in the earlier attempt, so that rounding is equal"


class UnsuitableHostError(Exception):
    """This host can't continue a run with the choices that it began with. The text names one."""


@dataclass
class Attempt:
    """An attempt of a run. ``state`` is replaced by that of a checkpoint when one is resumed."""

    spec: TrainingSpec
    stream: EventStream
    control: Control
    store: CheckpointStore
    state: RunState

    def choose(self, subject: str, value: str, reason: str, figures: Mapping[str, int] | None = None) -> None:
        """Report a choice."""
        self.stream.send(Choice(subject=subject, value=value, reason=reason, figures=dict(figures or {})))

    def warn(self, code: str, message: str) -> None:
        """Report something that doesn't stop the run."""
        self.stream.send(Warned(code=code, message=message))

    def refuse_host(self, reason: str) -> None:
        """Raise UnsuitableHostError, unless no step has been trained, so that the run can begin anew here."""
        if self.state.step:
            raise UnsuitableHostError(reason)


def new_attempt(spec: TrainingSpec, stream: EventStream, control: Control) -> Attempt:
    """Return the context of an attempt that has not started."""
    work_dir = Path(spec.work_dir)
    store = CheckpointStore(work_dir, spec.attempt, spec.options.keep_checkpoints, control.check_lease)
    return Attempt(spec, stream, control, store, RunState(fingerprint=""))
