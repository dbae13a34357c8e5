"""The end of a run in the job's folder, so that a later attempt only publishes the result."""

from __future__ import annotations

import msgspec

from training.engine.checkpoints.manifest import InvalidCheckpointError, verify_folder
from training.engine.events import Finished
from training.supervisor.folders import JobFolder

FILE, RESULT = "finished.json", "result"


def finished_run_save(folder: JobFolder, last_event: Finished) -> None:
    """Write the last event of a run beside its result. Raises OSError."""
    part = folder.path / f"{FILE}.part"
    part.write_bytes(msgspec.json.encode(last_event))
    part.replace(folder.path / FILE)


def finished_run(folder: JobFolder) -> Finished | None:
    """Return the last event of an earlier attempt's run, None unless its result is complete and unchanged."""
    result = folder.path / RESULT
    try:
        last_event = msgspec.json.decode((folder.path / FILE).read_bytes(), type=Finished)
        verify_folder(result)
    except (OSError, msgspec.DecodeError, InvalidCheckpointError):
        return None
    return last_event if last_event.result_dir == str(result) else None
