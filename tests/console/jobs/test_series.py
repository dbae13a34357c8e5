"""Series of a job: segments, smoothing before buckets, and buckets that keep minimum, maximum and last."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from api.console.job_data.series import MAX_BUCKETS, Average, columns, read_history


def _loss(step: int) -> float:
    return 3 / (1 + step / 50) + (step * 7919 % 13) / 10


def _events(
    first: int, last: int, number: int = 1, elapsed_from: int = 0, **changes: Any
) -> list[tuple[int, float, dict[str, Any]]]:
    return [
        (
            number + index,
            1000.0 + step,
            {
                "step": step,
                "train_loss": _loss(step),
                "learning_rate": 2e-4,
                "grad_norm": 1.0,
                "trained_tokens": step * 10,
                "elapsed_s": float(step - elapsed_from),
            }
            | changes,
        )
        for index, step in enumerate(range(first, last + 1))
    ]


def test_the_smoothed_loss_of_a_step_depends_neither_on_the_length_nor_on_the_range() -> None:
    short = columns(read_history(_events(1, 200)), smoothing=0.9, first_step=90, last_step=110)
    long = columns(read_history(_events(1, 2000)), smoothing=0.9, first_step=90, last_step=110)
    assert short["train"]["step"] == long["train"]["step"] == list(range(90, 111))
    assert short["train"]["smooth"] == long["train"]["smooth"]
    whole = columns(read_history(_events(1, 2000)), smoothing=0.9)
    assert whole["bucket_size"] == 2
    assert whole["train"]["smooth"][49] == long["train"]["smooth"][10]  # step 100
    assert long["train"]["loss"] == [_loss(step) for step in range(90, 111)]


@given(st.floats(0, 0.999), st.floats(-1e6, 1e6, allow_subnormal=False), st.integers(1, 50))
@example(smoothing=0.5, value=5e-324, count=1)
def test_an_average_of_a_constant_is_the_constant(smoothing: float, value: float, count: int) -> None:
    average = Average(smoothing)
    results = [average.add(value) for _ in range(count)]
    assert all(
        result is not None and math.isclose(result, value, rel_tol=1e-9, abs_tol=1e-300) for result in results
    )


def test_an_average_ignores_numbers_that_are_not_finite() -> None:
    average = Average(0.5)
    assert average.add(None) is None
    assert average.add(4.0) == 4.0
    assert average.add(float("nan")) == 4.0
    assert average.add(None) == 4.0


def test_a_long_run_is_cut_into_buckets_with_minimum_maximum_last_and_the_count_of_bad_numbers() -> None:
    events = _events(1, 6000)
    events[100][2]["train_loss"] = None
    events[101][2]["train_loss"] = 1e9
    series = columns(read_history(events))
    train = series["train"]
    assert series["bucket_size"] == 6
    assert len(train["step"]) == 1000 <= MAX_BUCKETS
    assert train["step"][:3] == [6, 12, 18]
    assert sum(train["loss_bad"]) == 1
    assert max(train["loss_max"]) == 1e9
    assert train["loss"][0] == _loss(6)
    assert train["loss_min"][0] == min(_loss(step) for step in range(1, 7))
    assert series["last_bucket_size"] == 6
    assert columns(read_history(_events(1, 1003)))["last_bucket_size"] == 1
    assert columns(read_history([]))["last_bucket_size"] == 0


def test_of_many_evaluations_the_series_has_some_among_them_the_lowest_and_the_last() -> None:
    losses = [3.0 - number / 10_000 for number in range(5001)]
    losses[1234] = 0.5
    entries = [
        (number, 0.0, {"step": number * 10, "valid_loss": loss}) for number, loss in enumerate(losses, 1)
    ]
    valid = columns(read_history(entries))["valid"]
    assert len(valid["step"]) <= MAX_BUCKETS + 2
    assert min(valid["loss"]) == 0.5
    assert valid["step"][-1] == 50_010
    assert valid["step"] == sorted(valid["step"])
    few = columns(read_history(entries[:MAX_BUCKETS]))["valid"]
    assert few["loss"] == losses[:MAX_BUCKETS]


def test_a_resume_supersedes_the_steps_behind_it_and_continues_the_active_time() -> None:
    first = _events(1, 40)
    second = _events(31, 50, number=42, elapsed_from=30)
    history = read_history([*first, (41, 2000.0, {"start_step": 30}), *second])
    series = columns(history)
    train = series["train"]
    superseded_steps = [step for step, flag in zip(train["step"], train["superseded"], strict=True) if flag]
    assert superseded_steps == list(range(31, 41))
    assert series["resumes"] == [{"number": 41, "step": 30}]
    assert train["active_s"][-1] == 50.0
    assert series["base_s"] == 30.0
    assert series["head"] == 61


def test_steps_trained_three_times_are_superseded_twice() -> None:
    history = read_history(
        [
            (1, 0.0, {"start_step": 0}),
            *_events(1, 20, number=2),
            (22, 0.0, {"start_step": 10}),
            *_events(11, 20, number=23, elapsed_from=10),
            (33, 0.0, {"start_step": 5}),
            *_events(6, 8, number=34, elapsed_from=5),
        ]
    )
    current = [(point.step, point.segment) for point in history.points if not point.superseded]
    assert current == [(step, 0) for step in range(1, 6)] + [(step, 2) for step in range(6, 9)]
    assert history.base_s == 5.0


def test_evaluations_are_apart_from_steps_and_keep_their_own_range() -> None:
    events = [
        *_events(1, 10),
        (11, 0.0, {"step": 10, "valid_loss": 1.5, "is_best": True}),
        (12, 0.0, {"step": 11, "valid_loss": None}),
    ]
    series = columns(read_history(events), last_step=10)
    assert series["valid"]["loss"] == [1.5]
    assert series["valid"]["is_best"] == [True]
    assert len(series["train"]["step"]) == 10


def test_an_attempt_without_points_yet_is_a_segment_of_its_own() -> None:
    history = read_history([*_events(1, 20), (21, 0.0, {"start_step": 10})])
    series = columns(history, smoothing=0.5)
    assert series["segment"] == 1
    assert series["average"] == {"total": 0.0, "weight": 0.0}
    assert series["train"]["segment"] == [0] * 20
    assert sum(series["train"]["superseded"]) == 10
