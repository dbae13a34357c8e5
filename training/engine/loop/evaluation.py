"""Loss and token accuracy over a set of examples, summed micro-batch by micro-batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, replace
from typing import Any

import torch

from training.engine.checkpoints.state import Score
from training.engine.control import Control
from training.engine.counts import Counts
from training.engine.events import Evaluation
from training.engine.hardware.memory_errors import is_out_of_memory, release_memory
from training.engine.loop.trainer import NonFiniteError, StepTrainer
from training.engine.objectives.steps import share_of_rank
from training.engine.objectives.supervised import Objective

LARGEST_EXPONENT = 700.0


def evaluate(
    trainer: StepTrainer, objective: Objective, indices: Sequence[int], step: int, control: Control
) -> Score:
    """Return the mean loss over the trained tokens of examples. Raises NonFiniteError, StopRequestedError.

    Only sums are kept between micro-batches.
    """
    micro_batches = replace(trainer.micro_batches)
    while True:
        try:
            loss, counts = _sums(trainer, objective, micro_batches.groups(objective, indices), control)
            break
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or micro_batches.limit <= 1 or trainer.args.world_size > 1:
                raise
        release_memory()
        micro_batches.limit //= 2
    if not math.isfinite(loss):
        raise NonFiniteError(f"the evaluation loss after step {step} is {loss}")
    return Score(
        step,
        loss / counts.weight,
        counts.token_accuracy,
        counts.token_loss / counts.tokens,
        counts.reward_accuracy,
        counts.reward_margin,
    )


@torch.no_grad()  # type: ignore[untyped-decorator]
def _sums(
    trainer: StepTrainer, objective: Objective, groups: Sequence[tuple[int, ...]], control: Control
) -> tuple[float, Counts]:
    model: Any = trainer.model
    was_training = model.training
    model.eval()
    loss, counts = 0.0, Counts()
    for group in share_of_rank(groups, trainer.args.process_index, trainer.args.world_size):
        if trainer.args.world_size == 1:
            control.check_stop()
        sums = objective.sums(model, group)
        loss, counts = loss + float(sums.loss), counts + sums.counts
    model.train(was_training)
    if trainer.args.world_size > 1:
        figures = torch.tensor([loss, *astuple(counts)], dtype=torch.float64)
        loss, *counters = trainer.accelerator.reduce(figures.to(trainer.args.device), "sum").tolist()
        counts = Counts(*counters)
    return loss, counts


def as_event(score: Score, *, is_best: bool) -> Evaluation:
    """Return the event of a score."""
    token_loss = score.loss if score.token_loss is None else score.token_loss
    perplexity = math.exp(min(token_loss, LARGEST_EXPONENT))
    return Evaluation(
        step=score.step,
        loss=score.loss,
        perplexity=perplexity,
        token_accuracy=score.token_accuracy,
        is_best=is_best,
        reward_accuracy=score.reward_accuracy,
        reward_margin=score.reward_margin,
    )
