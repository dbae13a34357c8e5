"""Early stopping: counters in the run's state, so that they survive a restart."""

from __future__ import annotations

from training.engine.checkpoints.state import RunState, Score
from training.engine.spec import EarlyStopping


def record_score(state: RunState, score: Score, rule: EarlyStopping | None) -> bool:
    """Enter a validation score into a state. Return whether it is the best so far.

    ``unimproved`` counts evaluations since the loss last fell by more than the threshold, and
    ``reference_loss`` is the loss at that time. So slow progress counts once it adds up to the threshold.
    """
    state.latest = score
    threshold = rule.threshold if rule else 0.0
    if state.reference_loss is None or score.loss < state.reference_loss - threshold:
        state.reference_loss = score.loss
        state.unimproved = 0
    else:
        state.unimproved += 1
    is_best = state.best is None or score.loss < state.best.loss
    if is_best:
        state.best = score
    return is_best


def is_exhausted(state: RunState, rule: EarlyStopping | None) -> bool:
    """Return whether training stops after the evaluations in a state."""
    return rule is not None and state.unimproved >= rule.patience
