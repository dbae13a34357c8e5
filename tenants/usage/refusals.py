"""Sums of refused requests that are counted but not recorded."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet

from tenants.usage.models import RefusalCount

MAX_COUNTS = 10_000


@dataclass(frozen=True, slots=True)
class RefusalSum:
    """A sum of counts. ``is_complete`` is false if there were more than ``MAX_COUNTS`` of them."""

    requests: int
    is_complete: bool


def refusal_sum(counts: QuerySet[RefusalCount]) -> RefusalSum:
    """Add up the first ``MAX_COUNTS`` counts, in one query."""
    numbers = list(counts.values_list("requests", flat=True)[: MAX_COUNTS + 1])
    return RefusalSum(sum(numbers[:MAX_COUNTS]), len(numbers) <= MAX_COUNTS)
