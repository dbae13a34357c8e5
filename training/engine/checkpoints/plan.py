"""Plan of a run before its first checkpoint.

The sizes of micro-batches and lanes follow from the memory available when a run starts, and they change the
rounding. An attempt that begins anew keeps those of the first one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from training.durable_files import write_file
from training.engine.checkpoints.state import RunState, decode_state, encode_state
from training.engine.checkpoints.store import CheckpointWriteError

PLAN = "plan.json"


def write_plan(work_dir: Path, state: RunState) -> None:
    """Write the state of a run at step 0. Raises CheckpointWriteError."""
    partial = work_dir / f"{PLAN}.partial"
    try:
        write_file(partial, encode_state(state))
        partial.replace(work_dir / PLAN)
    except OSError as error:
        raise CheckpointWriteError(f"{PLAN}: {error}") from error


def read_plan(work_dir: Path, fingerprint: str) -> RunState | None:
    """Return the state that an earlier attempt of this run has written, None if there is none."""
    try:
        state = decode_state((work_dir / PLAN).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return state if state.fingerprint == fingerprint and state.step == 0 else None
