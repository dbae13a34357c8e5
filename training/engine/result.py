"""The result of a run: published as ``result/`` in the work folder, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

from inference_worker.telemetry.masking import mask_folders
from training.engine.attempt import Attempt
from training.engine.checkpoints.manifest import InvalidCheckpointError, verify_checkpoint
from training.engine.checkpoints.state import Score
from training.engine.events import Finished
from training.engine.loop.evaluation import as_event
from training.engine.loop.training_loop import TrainingLoop, check_weights
from training.engine.models.weights import is_adapter, read_weights, restore_weights, write_model
from training.engine.processes import is_main_process
from training.engine.setup import Setup

RESULT = "result"
TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "chat_template*",
    "vocab.*",
    "merges.txt",
    "*.model",
)


def write_result(
    attempt: Attempt, setup: Setup, loop: TrainingLoop, reason: Literal["completed", "early_stopping"]
) -> None:
    """Publish the trained weights and report the end. Raises CheckpointWriteError, NonFiniteError.

    With early stopping these are the weights of the best evaluation, otherwise the last ones.
    """
    score = _restore_best(attempt, setup.model) or loop.score_now()
    check_weights(setup.model)
    target = Path(attempt.spec.work_dir) / RESULT
    if is_main_process():
        attempt.store.publish(lambda folder: _write(folder, setup.model, attempt), target)
    base = attempt.state.base
    assert base is not None  # noqa: S101 - measured before the first step
    validation = setup.data.validation
    attempt.stream.send(
        Finished(
            step=attempt.state.step,
            reason=reason,
            result_dir=str(target),
            trained_tokens=attempt.state.trained_tokens,
            evaluated_on="training" if validation is None else "validation",
            base=as_event(base, is_best=False),
            result=as_event(score, is_best=attempt.state.best == score),
            probe_prompts=(validation or setup.data.training).prompts(),
        )
    )


def _restore_best(attempt: Attempt, model: Any) -> Score | None:
    best = attempt.state.best
    if attempt.spec.options.early_stopping is None or best is None or best.step == attempt.state.step:
        return None
    folder = attempt.store.path(best.step)
    try:
        verify_checkpoint(folder)
    except (InvalidCheckpointError, OSError) as error:
        reason = mask_folders(str(error))
        message = (
            f"The best checkpoint, of step {best.step}, is lost: {reason}. The last weights are the result."
        )
        attempt.warn("best_checkpoint_lost", message)
        return None
    restore_weights(model, read_weights(folder))
    return best


def _write(folder: Path, model: Any, attempt: Attempt) -> None:
    write_model(model, folder)
    if not is_adapter(model):  # a whole model is served with its tokenizer
        for pattern in TOKENIZER_FILES:
            for path in Path(attempt.spec.base_model).glob(pattern):
                if path.is_file():
                    shutil.copyfile(path, folder / path.name)
