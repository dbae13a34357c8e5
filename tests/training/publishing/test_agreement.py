"""The comparison of log-probs: within the tolerance, distinct from the base model, and never with NaN."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from training.publishing.agreement import FLOAT32, HALF, Comparison, check_agreement
from training.publishing.errors import PublishingError

TRAINER, BASE = [[-1.0, -2.0, -0.5], [-0.1]], [[-3.0, -2.5, -4.0], [-2.0]]
EXACT = Comparison(
    engine_adapter=TRAINER,
    trainer_adapter=TRAINER,
    trainer_base=BASE,
    engine_on_base=BASE,
    trainer_on_base=BASE,
)


def shifted(values: list[list[float]], shift: float) -> list[list[float]]:
    return [[value + shift for value in sequence] for sequence in values]


def with_changes(**changes: Any) -> Comparison:
    return dataclasses.replace(EXACT, **changes)


def test_figures_of_equal_log_probs() -> None:
    agreement = check_agreement(EXACT, "float32")
    assert (agreement.tokens, agreement.tolerance) == (4, FLOAT32)
    assert agreement.adapter.largest == agreement.base.largest == 0
    assert agreement.effect.largest == pytest.approx(3.5)
    assert agreement.effect.mean == pytest.approx((2 + 0.5 + 3.5 + 1.9) / 4)
    assert agreement.share == pytest.approx(1)
    assert agreement.share_error == pytest.approx(0)


@pytest.mark.criterion("2.9")
@pytest.mark.parametrize(
    ("dtype", "shift", "is_accepted"),
    [
        ("float32", 0.9e-4, True),
        ("float32", 1.1e-4, False),  # above the mean's tolerance
        ("bfloat16", 0.05, True),
        ("bfloat16", 0.07, False),
        ("", 0.05, True),
    ],
)
def test_the_tolerance_is_that_of_the_data_type(dtype: str, shift: float, is_accepted: bool) -> None:
    for changes in (
        {"engine_adapter": shifted(TRAINER, shift)},
        {"engine_on_base": shifted(BASE, -shift)},
    ):
        if is_accepted:
            assert check_agreement(with_changes(**changes), dtype)
        else:
            with pytest.raises(PublishingError):
                check_agreement(with_changes(**changes), dtype)


def test_one_token_far_off_is_enough() -> None:
    engine = [[-1.0, -2.0, -0.5], [-0.1 - 1.1e-3]]
    with pytest.raises(PublishingError, match="as it was trained"):
        check_agreement(with_changes(engine_adapter=engine), "float32")


def test_the_base_models_answer_is_no_fine_tuned_model() -> None:
    with pytest.raises(PublishingError, match="as it was trained"):
        check_agreement(with_changes(engine_adapter=BASE), "float32")
    with pytest.raises(PublishingError, match="does not differ measurably"):
        check_agreement(with_changes(trainer_base=TRAINER), "float32")
    noise = [[-1.04, -1.97, -0.55], [-0.06]]
    weak = with_changes(engine_adapter=noise, trainer_base=shifted(TRAINER, 0.01))
    with pytest.raises(PublishingError, match="does not differ measurably"):
        check_agreement(weak, "bfloat16")


@pytest.mark.case("training.21")
def test_half_of_an_adapter_is_found_out_although_the_data_type_hides_it() -> None:
    """The engine shows half of an effect that is smaller than the tolerance of bfloat16."""
    half = with_changes(engine_adapter=shifted(TRAINER, -0.05), trainer_base=shifted(TRAINER, -0.1))
    with pytest.raises(PublishingError, match="as it was trained"):
        check_agreement(half, "bfloat16")
    whole = check_agreement(with_changes(trainer_base=shifted(TRAINER, -0.1)), "bfloat16")
    assert whole.share == pytest.approx(1)
    assert whole.share_error == pytest.approx(0)


@pytest.mark.case("training.9")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Comparison)])
def test_a_log_prob_that_is_not_finite_fails_the_verification(field: str, bad: float) -> None:
    values = [list(sequence) for sequence in getattr(EXACT, field)]
    values[0][1] = bad
    with pytest.raises(PublishingError):
        check_agreement(with_changes(**{field: values}), "float32")


@pytest.mark.parametrize("values", [[], [[]], [[-1.0, -2.0], [-0.1]], [[-1.0, -2.0, -0.5]]])
def test_missing_tokens_fail_the_verification(values: list[list[float]]) -> None:
    with pytest.raises(PublishingError):
        check_agreement(with_changes(engine_adapter=values), "float32")


def test_tolerances_are_ordered() -> None:
    assert FLOAT32.mean < FLOAT32.largest < HALF.largest
    assert FLOAT32.mean < HALF.mean
