"""One attempt of a training run, from its spec to its result."""

from __future__ import annotations

import logging
from contextlib import suppress

from training.engine.attempt import Attempt, new_attempt
from training.engine.checkpoints.store import CheckpointWriteError
from training.engine.control import Control, StopRequestedError
from training.engine.diagnosis import diagnose
from training.engine.event_stream import EventStream
from training.engine.events import Failed, Stopped
from training.engine.loop.trainer import NonFiniteError
from training.engine.loop.training_loop import TrainingLoop
from training.engine.objectives.dataset import TrainingDataError
from training.engine.result import write_result
from training.engine.setup import prepare
from training.engine.spec import TrainingSpec

logger = logging.getLogger(__name__)


def run(spec: TrainingSpec, stream: EventStream, control: Control) -> bool:
    """Run an attempt and report it. Return whether it ended as it should, stopped included."""
    attempt = new_attempt(spec, stream, control)
    try:
        _run(attempt)
    except StopRequestedError:
        stream.send(Stopped(step=attempt.state.step, checkpoint_step=attempt.store.newest_step))
    except BrokenPipeError:
        raise
    except Exception as error:
        _log_failure(error)
        _report_failure(attempt, error)
        return False
    return True


def _run(attempt: Attempt) -> None:
    setup = prepare(attempt)
    loop = TrainingLoop(attempt, setup)
    try:
        loop.train()
    except Exception as error:
        _save_intact_steps(loop, error)
        raise
    attempt.control.check_stop()  # a request during the last step: the result can wait, or is not wanted
    if loop.reason is None:
        raise StopRequestedError
    write_result(attempt, setup, loop, loop.reason)


def _save_intact_steps(loop: TrainingLoop, error: Exception) -> None:
    """Save the steps since the last checkpoint, where the failure has left them intact."""
    if isinstance(error, (StopRequestedError, CheckpointWriteError, NonFiniteError, BrokenPipeError)):
        return
    if loop.is_saving_useful():
        with suppress(Exception):
            loop.save()


def _log_failure(error: Exception) -> None:
    if isinstance(error, TrainingDataError):  # its text may quote the file
        logger.error("the run failed: the data can't be trained on")
    else:
        logger.exception("the run failed")


def _report_failure(attempt: Attempt, error: Exception) -> None:
    diagnosis = diagnose(error)
    attempt.stream.send(
        Failed(
            code=diagnosis.code,
            message=diagnosis.message,
            next_step=diagnosis.next_step,
            step=attempt.state.step,
            checkpoint_step=attempt.store.newest_step,
            is_transient=diagnosis.is_transient,
        )
    )
