"""Series of a job's metrics for charts: segments per attempt, smoothing of raw points, then buckets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_BUCKETS = 1000
METRICS = {
    "loss": "train_loss",
    "accuracy": "train_mean_token_accuracy",
    "lr": "learning_rate",
    "grad": "grad_norm",
    "tps": "tokens_per_s",
    "gpu": "gpu_utilization",
    "memory": "gpu_memory_bytes",
}
CHECKED = ("loss", "grad")  # always measured, so a missing number was not finite
MAX_SMOOTHING = 0.999


@dataclass(slots=True)
class Point:
    """Metrics of one step. ``active_s``: seconds of training so far, waits between attempts excluded.

    ``values``: by the names in ``METRICS``, None if it wasn't measured or not finite. ``superseded``: a later
    attempt has trained the step again.
    """

    number: int
    step: int
    at_ms: int
    tokens: int
    active_s: float
    segment: int
    values: dict[str, float | None]
    superseded: bool = False
    smooth: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A validation loss."""

    number: int
    step: int
    at_ms: int
    loss: float | None
    accuracy: float | None
    is_best: bool


@dataclass(slots=True)
class History:
    """Points in the order of their events. ``resumes``: (event number, step) where later attempts began.

    ``base_s``: active time before the latest attempt, whose points have ``segment``. ``head``: number of the
    last event read.
    """

    points: list[Point] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    resumes: list[tuple[int, int]] = field(default_factory=list)
    base_s: float = 0.0
    segment: int = 0
    head: int = 0


class Average:
    """Exponential moving average without the bias of its start, which ignores numbers that aren't finite."""

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self.total = self.weight = 0.0

    def add(self, value: float | None) -> float | None:
        """Add a value and return the average so far."""
        if value is not None and math.isfinite(value):
            self.total = self._smoothing * self.total + (1 - self._smoothing) * value
            self.weight = self._smoothing * self.weight + (1 - self._smoothing)
        return self.total / self.weight if self.weight else None


def read_history(events: Iterable[tuple[int, float, Mapping[str, Any]]]) -> History:
    """Return the history in events: number, time in seconds and data of metrics and of prepared attempts."""
    history = History()
    for number, at_s, data in events:
        history.head = number
        if "start_step" in data:
            if history.points or history.segment:
                history.segment += 1
                history.base_s = _supersede(history.points, int(data["start_step"]))
                history.resumes.append((number, int(data["start_step"])))
        elif "valid_loss" in data:
            history.evaluations.append(_evaluation(number, at_s, data))
        elif "step" in data:
            history.points.append(_point(number, at_s, data, history.segment, history.base_s))
    return history


def _supersede(points: Sequence[Point], start_step: int) -> float:
    """Mark the points after a step that is trained again; return the active time at the step."""
    base_s = 0.0
    for point in reversed(points):
        if point.step <= start_step and not point.superseded:
            base_s = point.active_s
            break
        point.superseded = True
    return base_s


def _point(number: int, at_s: float, data: Mapping[str, Any], segment: int, base_s: float) -> Point:
    return Point(
        number=number,
        step=int(data["step"]),
        at_ms=round(at_s * 1000),
        tokens=int(data.get("trained_tokens") or 0),
        active_s=base_s + float(data.get("elapsed_s") or 0),
        segment=segment,
        values={name: _finite(data.get(key)) for name, key in METRICS.items()},
    )


def _evaluation(number: int, at_s: float, data: Mapping[str, Any]) -> Evaluation:
    return Evaluation(
        number=number,
        step=int(data.get("step") or 0),
        at_ms=round(at_s * 1000),
        loss=_finite(data["valid_loss"]),
        accuracy=_finite(data.get("valid_mean_token_accuracy")),
        is_best=bool(data.get("is_best")),
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def smooth(points: Iterable[Point], smoothing: float) -> Average:
    """Set the smoothed loss of every point, afresh in each segment; return the last segment's average."""
    average, segment = Average(smoothing), None
    for point in points:
        if point.segment != segment:
            average, segment = Average(smoothing), point.segment
        point.smooth = average.add(point.values["loss"])
    return average


def columns(
    history: History, *, smoothing: float = 0.0, first_step: int | None = None, last_step: int | None = None
) -> dict[str, Any]:
    """Return the series of a range of steps as columns, in at most ``MAX_BUCKETS`` buckets per column.

    A bucket has the minimum, maximum and last value of its points, and how many weren't finite. The smoothed
    loss is that of the raw points from the segment's start, so it depends neither on range nor on buckets.
    """
    average = smooth(history.points, smoothing)
    if history.points and history.points[-1].segment != history.segment:
        average = Average(smoothing)  # the latest attempt has no point yet
    points = [point for point in history.points if _is_inside(point.step, first_step, last_step)]
    size = -(-len(points) // MAX_BUCKETS) or 1
    buckets = list(_buckets(points, size))
    evaluations = _thinned(
        [entry for entry in history.evaluations if _is_inside(entry.step, first_step, last_step)]
    )
    return {
        "head": history.head,
        "bucket_size": size,
        "last_bucket_size": len(buckets[-1]) if buckets else 0,
        "count": len(points),
        "base_s": history.base_s,
        "segment": history.segment,
        "average": {"total": average.total, "weight": average.weight},
        "train": _train_columns(buckets),
        "valid": {
            name: [getattr(evaluation, name) for evaluation in evaluations]
            for name in ("number", "step", "at_ms", "loss", "accuracy", "is_best")
        },
        "resumes": [{"number": number, "step": step} for number, step in history.resumes],
    }


def _thinned(evaluations: Sequence[Evaluation]) -> Sequence[Evaluation]:
    """Return about ``MAX_BUCKETS`` evaluations at equal distances, with the lowest and the last one."""
    size = -(-len(evaluations) // MAX_BUCKETS)
    finite = [(entry.loss, entry.number) for entry in evaluations if entry.loss is not None]
    landmarks = {min(finite, default=(0.0, 0))[1], evaluations[-1].number} if evaluations else set()
    return [
        entry for place, entry in enumerate(evaluations, 1) if place % size == 0 or entry.number in landmarks
    ]


def _is_inside(step: int, first: int | None, last: int | None) -> bool:
    return (first is None or step >= first) and (last is None or step <= last)


def _buckets(points: Sequence[Point], size: int) -> Iterator[list[Point]]:
    """Yield runs of up to ``size`` points of one segment, either superseded or not."""
    bucket: list[Point] = []
    for point in points:
        is_apart = bucket and (point.segment, point.superseded) != (bucket[0].segment, bucket[0].superseded)
        if len(bucket) == size or is_apart:
            yield bucket
            bucket = []
        bucket.append(point)
    if bucket:
        yield bucket


def _train_columns(buckets: Sequence[Sequence[Point]]) -> dict[str, list[Any]]:
    result: dict[str, list[Any]] = {
        name: [getattr(bucket[-1], name) for bucket in buckets]
        for name in ("number", "step", "at_ms", "tokens", "segment", "superseded")
    }
    result["active_s"] = [round(bucket[-1].active_s, 3) for bucket in buckets]
    result["smooth"] = [bucket[-1].smooth for bucket in buckets]
    for name in METRICS:
        values = [[point.values[name] for point in bucket] for bucket in buckets]
        finite = [[value for value in bucket if value is not None] for bucket in values]
        result[name] = [bucket[-1] for bucket in values]
        if name in CHECKED:
            result[f"{name}_bad"] = [
                len(bucket) - len(finite_values) for bucket, finite_values in zip(values, finite, strict=True)
            ]
        if any(len(bucket) > 1 for bucket in buckets):
            result[f"{name}_min"] = [min(bucket, default=None) for bucket in finite]
            result[f"{name}_max"] = [max(bucket, default=None) for bucket in finite]
    return result
