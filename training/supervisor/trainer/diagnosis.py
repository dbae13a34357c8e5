"""Failures of a trainer: as it reports them, or deduced from its exit code."""

from __future__ import annotations

import signal

from training.child_process import SIGKILL_CODES
from training.engine.events import Failed, TrainerEvent
from training.jobs.failures import Failure

OUT_OF_MEMORY = Failure(
    code="out_of_memory",
    message="The trainer was killed by the operating system, most likely because memory ran out.",
    next_step="Resume the job on a worker with more free memory, or create it again with a smaller "
    "batch_size, max_length or rank.",
    is_transient=True,
)
HANGING = Failure(
    code="trainer_crashed",
    message="The trainer stopped without being asked to, and did not end.",
    next_step="The training worker's log has the details.",
    is_transient=True,
)
NO_PROGRAM_CODES = (126, 127)
# Codes of a trainer that a signal other than SIGKILL has ended, or one of its processes.
SIGNAL_EFFECTS = frozenset({"trainer_crashed", "internal_error"})


def failure_of_end(end: TrainerEvent | None, code: int | None, rank_code: int | None) -> Failure:
    """Return why a trainer failed.

    ``end``: its last event, if that tells; ``code``: its exit code, None if it still ran; ``rank_code``: that
    of the first of several processes that failed. If it was killed, the others only report its loss.
    """
    if rank_code in SIGKILL_CODES:
        return OUT_OF_MEMORY
    if isinstance(end, Failed):
        return failure_of_event(end)
    return HANGING if code is None else failure_of_exit(code)


def failure_of_exit(code: int) -> Failure:
    """Return the cause of an exit without a final event; ``code`` is negative for a signal."""
    if code in SIGKILL_CODES:
        return OUT_OF_MEMORY
    if code in NO_PROGRAM_CODES:
        return Failure(
            code="trainer_unavailable",
            message="The trainer can't be started on the training worker.",
            next_step="The operator must check the installation of the training worker.",
        )
    ending = f"by signal {_signal_name(-code)}" if code < 0 else f"with status {code}"
    return Failure(
        code="trainer_crashed",
        message=f"The trainer ended unexpectedly {ending}.",
        next_step="The training worker's log has the details.",
        is_transient=True,
    )


def failure_of_event(event: Failed) -> Failure:
    """Return the cause that the trainer reports."""
    return Failure(
        code=event.code,
        message=event.message,
        next_step=event.next_step,
        is_transient=event.is_transient,
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
