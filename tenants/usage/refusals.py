"""Sums of refused requests that are counted but not recorded."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet

from tenants.usage.models import RefusalCount

MAX_COUNTS = 10_000


@dataclass(frozen=True, slots=True)
class RefusalSum:
    """The refused requests of some counts. ``is_complete``: there were no more than ``MAX_COUNTS``."""

    requests: int
    is_complete: bool


def refusal_sum(counts: QuerySet[RefusalCount]) -> RefusalSum:
    """Return the sum of the first ``MAX_COUNTS`` counts. One query."""
    numbers = list(counts.values_list("requests", flat=True)[: MAX_COUNTS + 1])
    return RefusalSum(sum(numbers[:MAX_COUNTS]), len(numbers) <= MAX_COUNTS)
