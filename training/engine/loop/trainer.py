"""transformers' Trainer with steps of our own: it drives optimizer, scheduler, precision and devices."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from training.engine.counts import Counts
from training.engine.hardware.memory_errors import is_out_of_memory, release_memory
from training.engine.hardware.precision import Precision
from training.engine.loop.lanes import Lanes
from training.engine.loop.micro_batches import MicroBatches
from training.engine.objectives.steps import Step, StepPlan, share_of_rank, step_loader
from training.engine.objectives.supervised import Objective
from training.engine.spec import TrainingSpec

SCHEDULERS = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
MOST_SKIPPED_STEPS = 20  # float16 starts at a large loss scale and halves it for each skipped step


class NonFiniteError(Exception):
    """A loss, gradient or weight is NaN or infinite."""


@dataclass
class StepResult:
    """Sums of an optimizer step over its trained tokens (or pairs). ``tokens``: all that were processed."""

    loss: float = 0.0
    counts: Counts = field(default_factory=Counts)
    tokens: int = 0
    examples: int = 0


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a run. They get the trainer."""

    on_train_begin: Callable[[StepTrainer], None]
    on_step_end: Callable[[StepTrainer], None]
    on_log: Callable[[StepTrainer, dict[str, float]], None]
    on_evaluate: Callable[[StepTrainer], None]
    on_save: Callable[[StepTrainer], None]
    on_restore: Callable[[StepTrainer], None]
    on_smaller_micro_batch: Callable[[StepTrainer, int], None]


class StepTrainer(Trainer):  # type: ignore[misc]
    """A Trainer for which one item of the loader is one optimizer step.

    A step is divided into micro-batches only when it runs, so it can be divided again when memory runs out:
    the effective batch never changes. All random numbers of a step derive from (seed, step, rank).
    """

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        plan: StepPlan,
        objective: Objective,
        micro_batches: MicroBatches,
        hooks: Hooks,
        lanes: Lanes | None = None,
    ) -> None:
        self.plan = plan
        self.objective = objective
        self.micro_batches = micro_batches
        self.hooks = hooks
        self.lanes = lanes
        self.result = StepResult()
        self.grad_norm = math.nan
        self.is_consistent = True  # weights, optimizer and scheduler are of the same step
        super().__init__(model=model, args=arguments, callbacks=[_Boundary(self)])
        self.remove_callback(PrinterCallback)

    # ---- data ----

    def get_train_dataloader(self) -> Any:
        """Return the loader of steps. Ranks share each step, so it isn't divided between them."""
        return step_loader(self.plan)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, _device: Any
    ) -> tuple[list[Any], None]:
        """Return the next step. Its loss is normalised in ``training_step``."""
        return [next(epoch_iterator) for _ in range(num_batches)], None

    def floating_point_ops(self, _inputs: Any) -> int:
        """Return 0: it is not estimated."""
        return 0

    # ---- a step ----

    def training_step(self, model: Any, inputs: Step, _num_items: Any = None) -> torch.Tensor:
        """Compute the gradient of a step, again with smaller micro-batches whenever memory runs out."""
        model.train()
        while True:
            try:
                return self._gradient(model, inputs)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or not self._can_shrink(inputs):
                    raise
            # Outside the handler: its traceback holds on to the tensors of the failed attempt.
            model.zero_grad()
            release_memory()
            self._shrink(inputs)

    def _gradient(self, model: Any, step: Step) -> torch.Tensor:
        torch.manual_seed(_seed(self.args.seed, step.number, self.args.process_index))
        objective, world = self.objective, self.args.world_size
        total = sum(objective.weight(index) for index in step.examples)
        groups = self.micro_batches.groups(objective, step.examples)
        if self.lanes is not None:
            sizes = [sum(objective.lengths[index] for index in group) for group in groups]
            sums = self.lanes.accumulate(groups, sizes, partial(objective.sums, model), total)
            return self._finish(sums.loss / total, StepResult(counts=sums.counts), step)
        own = share_of_rank(groups, self.args.process_index, world)
        # A rank without a share still takes part in the exchange of gradients, with a loss of zero.
        weighted_groups = [(group, 1) for group in own] or [(groups[0], 0)]
        result = StepResult()
        loss = torch.zeros((), device=self.args.device)
        for number, (group, factor) in enumerate(weighted_groups):
            with (
                self._sync(model, is_last=number == len(weighted_groups) - 1),
                self.compute_loss_context_manager(),
            ):
                sums = objective.sums(model, group)
                part = sums.loss * (factor / total)
                # Gradients are averaged over ranks, where the loss is a sum.
                self.accelerator.backward(part * world)
            loss += part.detach().float()
            if factor:
                result.counts += sums.counts
        return self._finish(loss, result, step)

    def _finish(self, loss: torch.Tensor, result: StepResult, step: Step) -> torch.Tensor:
        if self.args.world_size > 1:
            figures = torch.tensor([float(loss), *astuple(result.counts)], dtype=torch.float64)
            figures = self.accelerator.reduce(figures.to(self.args.device), "sum")
            loss = figures[0].to(loss.dtype)
            result.counts = Counts(*figures[1:].tolist())
        result.loss = float(loss)
        result.tokens = sum(self.objective.lengths[index] for index in step.examples)
        result.examples = len(step.examples)
        if not math.isfinite(result.loss):
            raise NonFiniteError(f"the loss of step {step.number + 1} is {result.loss}")
        self.result = result
        return loss

    def _sync(self, model: Any, *, is_last: bool) -> Any:
        return self.accelerator.no_sync(model) if not is_last else torch.enable_grad()

    def _can_shrink(self, step: Step) -> bool:
        # One rank can't repeat a step on its own: the others wait for it in the exchange of gradients.
        return self.args.world_size == 1 and self.micro_batches.can_shrink(self.objective, step.examples)

    def _shrink(self, step: Step) -> None:
        previous = self.micro_batches.limit
        self.micro_batches.shrink(self.objective, step.examples)
        if self.micro_batches.lanes == 1:
            self.lanes = None
        self.hooks.on_smaller_micro_batch(self, previous)

    # ---- hooks of the loop ----

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        self.grad_norm = float(norm)
        if not math.isfinite(self.grad_norm) and self.accelerator.scaler is None:
            step = self.state.global_step + 1
            raise NonFiniteError(f"the gradient norm of step {step} is {self.grad_norm}")
        return norm

    def log(self, logs: dict[str, float], _start_time: float | None = None) -> None:
        """Report a logged step. The summary at the end of training has no loss and is dropped."""
        self.control.should_log = False
        if "loss" in logs:
            self.hooks.on_log(self, logs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Evaluate by the hook."""
        self.control.should_evaluate = False  # or the end of the epoch would evaluate again
        self.hooks.on_evaluate(self)
        return {}

    def _save_checkpoint(self, _model: Any, _trial: Any) -> None:
        self.hooks.on_save(self)

    def _load_from_checkpoint(self, _checkpoint: Any, _model: Any = None) -> None:
        """Do nothing: the weights were restored before."""

    def _load_optimizer_and_scheduler(self, _checkpoint: Any) -> None:
        self.hooks.on_restore(self)

    def _load_scaler(self, _checkpoint: Any) -> None:
        """Do nothing: the hook restores it with the optimizer."""

    def _load_rng_state(self, _checkpoint: Any) -> None:
        """Do nothing: the random numbers of a step derive from its number."""


class _Boundary(TrainerCallback):  # type: ignore[misc]
    """Calls the hooks between steps, and marks when weights are changing."""

    def __init__(self, trainer: StepTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._trainer.hooks.on_train_begin(self._trainer)

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self._trainer.is_consistent = False

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._trainer.is_consistent = True
        self._trainer.hooks.on_step_end(self._trainer)


def training_arguments(spec: TrainingSpec, precision: Precision, *, checkpoints_gradients: bool) -> Any:
    """Return transformers' arguments of a run. All its epochs are one of the Trainer's."""
    options = spec.options
    return TrainingArguments(
        output_dir=str(Path(spec.work_dir) / "trainer"),
        seed=spec.seed,
        num_train_epochs=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        learning_rate=spec.learning_rate,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        lr_scheduler_type=SCHEDULERS[options.scheduler],
        warmup_steps=options.warmup_ratio,
        bf16=precision.compute == "bfloat16",
        fp16=precision.compute == "float16",
        gradient_checkpointing=checkpoints_gradients,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        use_cpu=not torch.cuda.is_available(),
        optim="adamw_torch",
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        logging_nan_inf_filter=False,
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to="none",
        log_level="warning",
    )


def _seed(seed: int, step: int, rank: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
