"""Command line of the trainer.

``python -m training.engine run SPEC``: one attempt of a TrainingSpec, with events on the standard output and
control messages on the standard input. ``python -m training.engine score SPEC``: scores of a ScoringSpec, as
JSON on the standard output.

Exit status 0: done, or stopped as asked; 1: failed; 2: wrong usage; 71: out of memory while scoring;
75: the lease has expired.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TypeVar

import msgspec

from inference_worker.runtime.parent_death import bind_to_parent
from training.child_process import lower_session
from training.engine.control import InputControl, ManualControl
from training.engine.event_stream import EventWriter, FailureWriter, claim_stdout
from training.engine.exit_codes import EXIT_LEASE_LOST, EXIT_OUT_OF_MEMORY
from training.engine.spec import ScoringSpec, TrainingSpec

Spec = TypeVar("Spec")
USAGE = "usage: python -m training.engine (run | score) SPEC"


def main(arguments: list[str]) -> int:
    """Run a command and return the exit status."""
    match arguments:
        case ["run", path]:
            return _run(Path(path))
        case ["score", path]:
            return _score(Path(path))
    print(USAGE, file=sys.stderr)
    return 2


def _run(path: Path) -> int:
    is_main = os.environ.get("RANK", "0") == "0"
    if "RANK" in os.environ:
        _join_launcher(is_main=is_main)
    output = claim_stdout()
    spec = _read(path, TrainingSpec)
    if spec is None:
        return 2
    _configure_process(spec.job_id)
    control = InputControl(spec.lease_s) if is_main else ManualControl()
    if isinstance(control, InputControl):
        control.start()
    # The model libraries take seconds to load; the lease and requests to stop count from before that.
    from training.engine.run import run

    try:
        stream = EventWriter(output) if is_main else FailureWriter(output)
        is_successful = run(spec, stream, control)
    except BrokenPipeError:
        logging.getLogger(__name__).error("nobody reads the events")
        return EXIT_LEASE_LOST
    return 0 if is_successful else 1


def _join_launcher(*, is_main: bool) -> None:
    """Tie this process to torchrun, which started it in a session of its own.

    It ends with the launcher, although it isn't in its process group, and has the launcher's priority.
    """
    bind_to_parent(os.getppid(), by_thread=True)
    if not is_main:
        # The first process saves a checkpoint on this signal, for which it needs the others.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness > 0:
        lower_session(os.getpid(), niceness, sessions=int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _score(path: Path) -> int:
    output = claim_stdout()
    spec = _read(path, ScoringSpec)
    if spec is None:
        return 2
    _configure_process("scoring")
    from training.engine.hardware.memory_errors import is_out_of_memory
    from training.engine.scoring import score

    try:
        scores = score(spec)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        logging.getLogger(__name__).exception("the scoring failed")
        return EXIT_OUT_OF_MEMORY
    with os.fdopen(output, "wb") as file:
        file.write(msgspec.json.encode(scores) + b"\n")
    return 0


def _read(path: Path, kind: type[Spec]) -> Spec | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return None


def _configure_process(name: str) -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # Every length of a micro-batch has kernels of its own in oneDNN, up to a megabyte each, of which it keeps
    # over a thousand by default. A pass needs fewer than 20.
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "64")
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s {name} %(name)s: %(message)s",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
