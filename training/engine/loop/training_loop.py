"""Between the steps of a run: progress, evaluations, checkpoints, requests to stop."""

from __future__ import annotations

import time
from math import ceil
from pathlib import Path
from typing import Any, Literal

import torch
from transformers.trainer_callback import TrainerState

from training.durable_files import write_file
from training.engine.attempt import Attempt
from training.engine.checkpoints.manifest import STATE, TRAINER
from training.engine.checkpoints.state import Score, encode_state
from training.engine.checkpoints.tensors import (
    optimizer_groups,
    optimizer_tensors,
    read_tensors,
    restore_optimizer,
    write_tensors,
)
from training.engine.control import StopRequestedError
from training.engine.events import CheckpointSaved
from training.engine.loop.early_stopping import is_exhausted, record_score
from training.engine.loop.evaluation import as_event, evaluate
from training.engine.loop.lanes import Lanes
from training.engine.loop.micro_batches import MicroBatches
from training.engine.loop.progress import ProgressMeter
from training.engine.loop.trainer import (
    MOST_SKIPPED_STEPS,
    Hooks,
    NonFiniteError,
    StepTrainer,
    training_arguments,
)
from training.engine.models.weights import non_finite_weights, write_model
from training.engine.processes import is_main_process
from training.engine.setup import Setup
from training.engine.spec import PARTS

OPTIMIZER = f"{TRAINER}/optimizer.safetensors"
TRAINER_STATE = f"{TRAINER}/trainer_state.json"
CHECKPOINT_INTERVAL_S = 600.0


class AlreadyFinishedError(Exception):
    """The checkpoint that was resumed is the last of its run."""


class TrainingLoop:
    """The hooks of an attempt's trainer. ``reason``: why training ended, None if it was stopped."""

    def __init__(self, attempt: Attempt, setup: Setup) -> None:
        self.reason: Literal["completed", "early_stopping"] | None = None
        self._attempt = attempt
        self._setup = setup
        self._total = len(setup.plan)
        self._meter = ProgressMeter(self._total, setup.plan.steps_per_epoch)
        self._saved_at = time.monotonic()
        arguments = training_arguments(
            attempt.spec, setup.precision, checkpoints_gradients=setup.checkpoints_gradients
        )
        micro_batches = MicroBatches(attempt.state.micro_batch_tokens, attempt.state.lanes)
        self.trainer = StepTrainer(
            setup.model, arguments, setup.plan, setup.objective, micro_batches, self._hooks(), self._lanes()
        )

    def _lanes(self) -> Lanes | None:
        state = self._attempt.state
        if state.lanes <= 1:
            return None
        trained_parameters = [item for item in self._setup.model.parameters() if item.requires_grad]
        return Lanes(trained_parameters, state.lanes, state.threads)

    def _hooks(self) -> Hooks:
        return Hooks(
            on_train_begin=self._on_train_begin,
            on_step_end=self._on_step_end,
            on_log=self._on_log,
            on_evaluate=self._on_evaluate,
            on_save=self._on_save,
            on_restore=self._on_restore,
            on_smaller_micro_batch=self._on_smaller_micro_batch,
        )

    def train(self) -> None:
        """Train to the end, or until a request to stop takes effect."""
        step = self._attempt.state.step
        folder = str(self._attempt.store.path(step) / TRAINER) if step else None
        try:
            self.trainer.train(resume_from_checkpoint=folder)
        except AlreadyFinishedError:
            return

    def score_now(self) -> Score:
        """Return the score of the current weights; evaluate them unless it is already known."""
        state, evaluation = self._attempt.state, self._setup.evaluation
        if state.latest is not None and state.latest.step == state.step:
            return state.latest
        control = self._attempt.control
        return evaluate(self.trainer, evaluation.objective, evaluation.indices, state.step, control)

    # ---- begin ----

    def _on_restore(self, trainer: StepTrainer) -> None:
        state = self._attempt.state
        tensors = read_tensors(self._attempt.store.path(state.step) / OPTIMIZER)
        restore_optimizer(trainer.optimizer, tensors, state.optimizer_groups)
        trainer.lr_scheduler.load_state_dict(
            {**state.scheduler, "lr_lambdas": [None] * len(state.optimizer_groups)}
        )
        if trainer.accelerator.scaler is not None and state.scaler:
            trainer.accelerator.scaler.load_state_dict(state.scaler)

    def _on_train_begin(self, _trainer: StepTrainer) -> None:
        state = self._attempt.state
        if state.base is None:
            state.base = self.score_now()
            if self._setup.evaluation.is_validation:
                self._attempt.stream.send(as_event(state.base, is_best=False))
        elif self._is_evaluation_due() and (state.latest is None or state.latest.step != state.step):
            self._evaluate()  # the attempt that saved this step was stopped before it could
        self._end_if_done()
        if self.reason:
            raise AlreadyFinishedError
        self._meter.start()

    # ---- a step ----

    def _on_step_end(self, trainer: StepTrainer) -> None:
        state, control, result = self._attempt.state, trainer.control, trainer.result
        state.step += 1
        state.trained_tokens += int(result.counts.trained_tokens)
        state.train = Score(state.step, result.loss, result.counts.token_accuracy)
        self._count_skipped(trainer)
        state.window = state.window.add(result.loss, result.counts)
        self._meter.add(result)
        is_last = state.step == self._total
        if is_last:
            self.reason = "completed"
        # A skipped step has no finite gradient norm to report.
        is_due = is_last or state.step % self._attempt.spec.options.logging_steps == 0
        control.should_log = is_due and not state.skipped_steps
        control.should_evaluate = self._is_evaluation_due()
        stop, is_late = self._agree(
            self._stop_code(), time.monotonic() - self._saved_at > CHECKPOINT_INTERVAL_S
        )
        control.should_save = is_last or self._is_checkpoint_due() or bool(is_late) or stop == 2
        control.should_training_stop |= is_last or stop > 0
        control.should_evaluate &= stop == 0

    def _stop_code(self) -> int:
        """Return 0 to go on, 1 to stop, 2 to save and stop."""
        stop = self._attempt.control.stop
        return 0 if stop is None else 1 + stop.is_saved

    def _agree(self, *figures: int) -> list[int]:
        """Return the figures of the first process, so that all act alike."""
        if self.trainer.args.world_size == 1:
            return list(figures)
        own = torch.tensor([int(figure) * is_main_process() for figure in figures])
        sums = self.trainer.accelerator.reduce(own.to(self.trainer.args.device), "sum")
        return [int(figure) for figure in sums]

    def _count_skipped(self, trainer: StepTrainer) -> None:
        state = self._attempt.state
        state.skipped_steps = state.skipped_steps + 1 if trainer.accelerator.optimizer_step_was_skipped else 0
        if state.skipped_steps > MOST_SKIPPED_STEPS:
            raise NonFiniteError(f"{state.skipped_steps} steps in a row had gradients out of float16's range")

    def _is_evaluation_due(self) -> bool:
        state = self._attempt.state
        if not self._setup.evaluation.is_validation:
            return False
        interval = self._attempt.spec.options.eval_steps or ceil(self._total / PARTS)
        return state.step == self._total or (state.step > 0 and state.step % interval == 0)

    def _is_checkpoint_due(self) -> bool:
        step, interval = self._attempt.state.step, self._attempt.spec.options.checkpoint_steps
        if interval is not None:
            return step % interval == 0
        return step % ceil(self._total / PARTS) == 0 or step % self._setup.plan.steps_per_epoch == 0

    def _on_smaller_micro_batch(self, trainer: StepTrainer, previous: int) -> None:
        state, limit = self._attempt.state, trainer.micro_batches.limit
        state.micro_batch_tokens, state.lanes = limit, trainer.micro_batches.lanes
        reason = f"memory ran out with {previous}; the batch of a step stays the same"
        self._attempt.choose("micro_batch_tokens", str(limit), reason)

    def _on_log(self, _trainer: StepTrainer, logs: dict[str, float]) -> None:
        event = self._meter.report(self._attempt.state, logs["learning_rate"], float(logs["grad_norm"]))
        self._attempt.stream.send(event)

    # ---- evaluation ----

    def _on_evaluate(self, trainer: StepTrainer) -> None:
        try:
            is_best = self._evaluate()
        except StopRequestedError:  # the next attempt evaluates this step
            trainer.control.should_training_stop = True
            trainer.control.should_save |= self._stop_code() == 2
            return
        trainer.control.should_save |= is_best
        self._end_if_done()
        if self.reason:
            trainer.control.should_training_stop = True
            trainer.control.should_save = True

    def _evaluate(self) -> bool:
        state = self._attempt.state
        is_best = record_score(state, self.score_now(), self._attempt.spec.options.early_stopping)
        assert state.latest is not None  # noqa: S101
        self._attempt.stream.send(as_event(state.latest, is_best=is_best))
        return is_best

    def _end_if_done(self) -> None:
        if self._attempt.state.step == self._total:
            self.reason = "completed"
        elif is_exhausted(self._attempt.state, self._attempt.spec.options.early_stopping):
            self.reason = "early_stopping"

    # ---- checkpoints ----

    def _on_save(self, _trainer: StepTrainer) -> None:
        self.save()

    def is_saving_useful(self) -> bool:
        """Return whether the current step can be saved and has not been. Never with several processes."""
        state, trainer = self._attempt.state, self.trainer
        is_unsaved = state.step > (self._attempt.store.newest_step or 0)
        return is_unsaved and trainer.is_consistent and trainer.args.world_size == 1

    def save(self) -> None:
        """Publish a checkpoint of the current step. Raises CheckpointWriteError, NonFiniteError."""
        attempt, state = self._attempt, self._attempt.state
        check_weights(self._setup.model)
        self._collect_state()
        if is_main_process():
            protected_steps = {state.best.step} if state.best else set()
            folder = attempt.store.save(state.step, self._write, protected_steps)
            attempt.stream.send(self._saved_event(folder))
        if self.trainer.args.world_size > 1:
            self.trainer.accelerator.wait_for_everyone()
        self._saved_at = time.monotonic()

    def _collect_state(self) -> None:
        state, trainer = self._attempt.state, self.trainer
        state.scheduler = _plain(trainer.lr_scheduler.state_dict())
        state.optimizer_groups = optimizer_groups(trainer.optimizer)
        scaler = trainer.accelerator.scaler
        state.scaler = dict(scaler.state_dict()) if scaler is not None else {}

    def _write(self, folder: Path) -> None:
        (folder / TRAINER).mkdir()
        write_model(self._setup.model, folder)
        write_tensors(folder / OPTIMIZER, optimizer_tensors(self.trainer.optimizer))
        TrainerState(global_step=self._attempt.state.step, train_batch_size=1).save_to_json(
            str(folder / TRAINER_STATE)
        )
        write_file(folder / STATE, encode_state(self._attempt.state))

    def _saved_event(self, folder: str) -> CheckpointSaved:
        state = self._attempt.state
        has_score = self._setup.evaluation.is_validation and state.latest and state.latest.step == state.step
        return CheckpointSaved(
            step=state.step,
            folder=folder,
            train_loss=state.train.loss if state.train else None,
            train_token_accuracy=state.train.token_accuracy if state.train else None,
            valid_loss=state.latest.loss if has_score and state.latest else None,
            valid_token_accuracy=state.latest.token_accuracy if has_score and state.latest else None,
            is_best=state.best is not None and state.best.step == state.step,
        )


def check_weights(model: Any) -> None:
    """Raise NonFiniteError if a trained weight is NaN or infinite."""
    for name in non_finite_weights(model):
        raise NonFiniteError(f"the weight {name} is not finite")


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "lr_lambdas"}
