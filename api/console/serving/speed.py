"""Latency and speed of models from the usage records of the last day."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Aggregate, Count, ExpressionWrapper, F, FloatField, Q
from django.utils import timezone

from tenants.choices import RecordOutcome
from tenants.models import UsageRecord
from training.queue.metering import ENDPOINT

WINDOW = dt.timedelta(days=1)
PERCENTILES = (0.5, 0.95, 0.99)


class PercentileCont(Aggregate):
    """Postgres's continuous percentile of an expression; NULL values are ignored."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(%(fraction)s) WITHIN GROUP (ORDER BY %(expressions)s)"

    def __init__(self, expression: Any, fraction: float, **options: Any) -> None:
        super().__init__(expression, fraction=fraction, output_field=FloatField(), **options)


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """Figures of a model's completed requests. Percentiles 50, 95 and 99 in seconds; None without data."""

    requests: int
    failures: int
    first_token_s: tuple[float | None, ...]
    total_s: tuple[float | None, ...]
    tokens_per_s: float | None


# (n - 1) tokens in the time after the first one; records without these times don't count.
_TOKENS_PER_S = ExpressionWrapper(
    (F("completion_tokens") - 1.0) / (F("engine_total_s") - F("engine_first_token_s")),
    output_field=FloatField(),
)
_HAS_SPEED = Q(completion_tokens__gte=2, engine_total_s__gt=F("engine_first_token_s"))
_COMPLETED = Q(outcome=RecordOutcome.COMPLETED)


def model_speeds(
    *, tenant_id: uuid.UUID | None = None, window: dt.timedelta = WINDOW, model: str | None = None
) -> Mapping[str, ModelSpeed]:
    """Return the speed of each model that a tenant, or any tenant, used within the window. One query.

    Records of training don't count: their durations are those of jobs.
    """
    records = UsageRecord.objects.across_tenants().filter(started_at__gte=timezone.now() - window).order_by()
    records = records.exclude(endpoint=ENDPOINT)
    if tenant_id is not None:
        records = records.filter(tenant_id=tenant_id)
    if model is not None:
        records = records.filter(model=model)
    rows = records.exclude(model="").values("model").annotate(requests=Count("pk"), **_figures())
    return {row["model"]: _speed(row) for row in rows}


def _figures() -> dict[str, Aggregate]:
    failure = Q(outcome__in=[RecordOutcome.FAILED, RecordOutcome.LOST])
    figures: dict[str, Aggregate] = {
        f"{column}_{index}": PercentileCont(column, fraction, filter=_COMPLETED)
        for column in ("first_token_s", "total_s")
        for index, fraction in enumerate(PERCENTILES)
    }
    speed = PercentileCont(_TOKENS_PER_S, 0.5, filter=_HAS_SPEED)
    return {**figures, "failed": Count("pk", filter=failure), "speed": speed}


def _speed(row: Mapping[str, Any]) -> ModelSpeed:
    return ModelSpeed(
        requests=row["requests"],
        failures=row["failed"],
        first_token_s=tuple(row[f"first_token_s_{index}"] for index in range(len(PERCENTILES))),
        total_s=tuple(row[f"total_s_{index}"] for index in range(len(PERCENTILES))),
        tokens_per_s=row["speed"],
    )
