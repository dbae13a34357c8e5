"""The comparison of log-probs between an inference engine and the trainer.

The engine serves an adapter correctly if both assign the same log-probs to tokens that it generated with the
adapter, and the base model assigns others. The base model is compared as well: its weights may differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain

from training.publishing.errors import PublishingError, verification_error


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest allowed difference of a token's log-prob, and of their mean."""

    largest: float
    mean: float


# SmolLM2 on a CPU: float32 differs by 6e-5 at most and 7e-6 on average, bfloat16 by 0.2 and 0.03.
FLOAT32 = Tolerance(largest=1e-3, mean=1e-4)
HALF = Tolerance(largest=0.5, mean=0.06)
# The share of the adapter's effect that the engine must show, besides three standard errors of the estimate.
SHARE_TOLERANCE = 0.2
MAX_STANDARD_ERROR = 1 / 6  # so three standard errors are at most half of the effect


@dataclass(frozen=True, slots=True)
class Difference:
    """Absolute differences of log-probs."""

    largest: float
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Log-probs of generated tokens, a list per sequence.

    ``engine_adapter`` and ``trainer_adapter``: with the adapter, of what the engine generated with it, and
    ``trainer_base``: of the same tokens with the base model. ``engine_on_base`` and ``trainer_on_base``: with
    the base model, of what the engine generated with the base model.
    """

    engine_adapter: Sequence[Sequence[float]]
    trainer_adapter: Sequence[Sequence[float]]
    trainer_base: Sequence[Sequence[float]]
    engine_on_base: Sequence[Sequence[float]]
    trainer_on_base: Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Figures of a successful comparison. ``effect``: of the adapter, on the same tokens.

    ``share``: the part of the effect that the engine shows, 1 if it computes what was trained, 0 if the base
    model answers. ``share_error``: the standard error of this estimate.
    """

    tokens: int
    base: Difference
    adapter: Difference
    effect: Difference
    tolerance: Tolerance
    share: float
    share_error: float

    def as_json(self) -> dict[str, object]:
        """Return the figures for the job's result."""
        return asdict(self)


def tolerance_of(dtype: str) -> Tolerance:
    """Return the tolerance for an engine's data type."""
    return FLOAT32 if dtype == "float32" else HALF


def check_agreement(comparison: Comparison, dtype: str) -> Agreement:
    """Return the figures. Raises PublishingError, which has them, if they are outside the tolerance."""
    tolerance = tolerance_of(dtype)
    base = _difference(comparison.engine_on_base, comparison.trainer_on_base)
    if not _is_within(base, tolerance):
        raise verification_error(
            f"The inference worker's base model is not the one that was trained: log-probs of its tokens "
            f"differ by {_text(base)}, allowed are {_text(tolerance)}.",
            "The operator serves the model that CYLLM_TRAINING_MODELS names; then resume the job.",
        )
    adapter = _difference(comparison.engine_adapter, comparison.trainer_adapter)
    effect = _difference(comparison.engine_adapter, comparison.trainer_base)
    if not (_is_within(adapter, tolerance) and math.isfinite(effect.largest)):
        raise _wrong_adapter(adapter, effect, tolerance)
    share, share_error = _effect_share(comparison)
    if share_error > MAX_STANDARD_ERROR:
        raise verification_error(
            f"The fine-tuned model does not differ measurably from the base model: log-probs differ by "
            f"{_text(effect)}, which is not above the computation's error of {_text(adapter)}.",
            "Train on more examples, for more epochs, or with a higher learning rate.",
        )
    if abs(share - 1) > SHARE_TOLERANCE + 3 * share_error:
        raise _wrong_adapter(adapter, effect, tolerance)
    tokens = sum(map(len, comparison.engine_adapter))
    return Agreement(tokens, base, adapter, effect, tolerance, share, share_error)


def _wrong_adapter(adapter: Difference, effect: Difference, tolerance: Tolerance) -> PublishingError:
    return verification_error(
        f"The inference worker does not compute the fine-tuned model as it was trained: log-probs differ "
        f"by {_text(adapter)}, allowed are {_text(tolerance)}; from the base model they differ by "
        f"{_text(effect)}.",
        "The operator checks the inference worker's version and log; then resume the job.",
    )


def _effect_share(comparison: Comparison) -> tuple[float, float]:
    """Return the share of the adapter's effect in the engine's log-probs, with its standard error.

    Least squares through the origin: the engine's distance from the base model against the trainer's.
    """
    engine = list(chain(*comparison.engine_adapter))
    trainer, base = list(chain(*comparison.trainer_adapter)), list(chain(*comparison.trainer_base))
    effects = [a - b for a, b in zip(trainer, base, strict=True)]
    differences = [a - b for a, b in zip(engine, base, strict=True)]
    power = sum(effect * effect for effect in effects)
    if not power:
        return 0.0, math.inf
    share = sum(x * y for x, y in zip(differences, effects, strict=True)) / power
    residual = sum((x - share * y) ** 2 for x, y in zip(differences, effects, strict=True))
    return share, math.sqrt(residual / max(len(effects) - 1, 1) / power)


def _difference(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> Difference:
    """Return the differences; infinite if the sequences have other lengths or a value is not finite."""
    if [len(values) for values in left] != [len(values) for values in right]:
        return Difference(math.inf, math.inf)
    deltas = [abs(a - b) for a, b in zip(chain(*left), chain(*right), strict=True)]
    if not deltas or not all(map(math.isfinite, deltas)):
        return Difference(math.inf, math.inf)
    return Difference(max(deltas), sum(deltas) / len(deltas))


def _is_within(difference: Difference, tolerance: Tolerance) -> bool:
    return difference.largest <= tolerance.largest and difference.mean <= tolerance.mean


def _text(value: Difference | Tolerance) -> str:
    return f"{value.largest:.2g} at most and {value.mean:.2g} on average"
