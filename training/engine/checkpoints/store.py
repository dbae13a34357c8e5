"""The checkpoints of one job: saved by this attempt, resumed from the newest valid one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from safetensors import SafetensorError

from training.engine.checkpoints.manifest import (
    STATE,
    Checkpoint,
    InvalidCheckpointError,
    folder_name,
    list_checkpoints,
    move_into_place,
    partial_folder,
    remove_partial_folders,
    rotate,
    seal_folder,
    verify_checkpoint,
)
from training.engine.checkpoints.state import RunState, decode_state
from training.engine.hardware.memory_errors import is_out_of_memory


class CheckpointWriteError(Exception):
    """A checkpoint or result could not be written. ``__cause__`` tells why."""


@dataclass(frozen=True)
class SkippedCheckpoint:
    """A checkpoint that can't be resumed."""

    step: int
    reason: str


@dataclass
class CheckpointStore:
    """Checkpoints in ``work_dir/checkpoints``. ``check_lease`` ends the process if the lease has expired."""

    work_dir: Path
    attempt: int
    keep: int
    check_lease: Callable[[], None]
    newest_step: int | None = None
    skipped_checkpoints: list[SkippedCheckpoint] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The folder of the checkpoints."""
        return self.work_dir / "checkpoints"

    def prepare(self) -> None:
        """Remove what earlier attempts left half written."""
        remove_partial_folders(self.work_dir)
        remove_partial_folders(self.root)

    def path(self, step: int) -> Path:
        """Return the folder of a step's checkpoint."""
        return self.root / folder_name(step)

    def find_newest(self, fingerprint: str) -> RunState | None:
        """Return the state in the newest valid checkpoint of this run; list invalid ones as skipped."""
        for checkpoint in list_checkpoints(self.root):
            try:
                state = _read_state(checkpoint, fingerprint)
            except InvalidCheckpointError as error:
                self.skipped_checkpoints.append(SkippedCheckpoint(checkpoint.step, str(error)))
            else:
                self.newest_step = state.step
                return state
        return None

    def save(self, step: int, write: Callable[[Path], None], protected_steps: set[int]) -> str:
        """Publish a checkpoint that ``write`` fills and remove old ones. Raises CheckpointWriteError."""
        self.publish(write, self.path(step))
        self.newest_step = step
        self.skipped_checkpoints = [
            checkpoint for checkpoint in self.skipped_checkpoints if checkpoint.step != step
        ]
        damaged_steps = {checkpoint.step for checkpoint in self.skipped_checkpoints}
        rotate(self.root, self.keep, protected_steps, damaged_steps)
        return folder_name(step)

    def publish(self, write: Callable[[Path], None], target: Path) -> None:
        """Fill a folder and publish it as ``target``. Raises CheckpointWriteError.

        After any error, lack of memory included, nothing is left of the folder.
        """
        partial = None
        try:
            partial = partial_folder(target.parent, self.attempt, target.name)
            write(partial)
            seal_folder(partial)
            self.check_lease()
            move_into_place(partial, target)
        except Exception as error:
            if isinstance(error, (OSError, SafetensorError)) or is_out_of_memory(error):
                raise CheckpointWriteError(f"{target.name}: {error}") from error
            raise
        finally:
            if partial is not None:  # once it is published, it is no longer there
                shutil.rmtree(partial, ignore_errors=True)


def _read_state(checkpoint: Checkpoint, fingerprint: str) -> RunState:
    try:
        verify_checkpoint(checkpoint.path)
        state = decode_state((checkpoint.path / STATE).read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidCheckpointError(f"it is not readable: {error}") from error
    if state.fingerprint != fingerprint:
        raise InvalidCheckpointError("it belongs to other data, another base model or other settings")
    if state.step != checkpoint.step:
        raise InvalidCheckpointError(f"its state belongs to step {state.step}")
    return state
