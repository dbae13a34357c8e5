"""Latency and speed of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from api.console.serving.speed import model_speeds
from tests.usage.records import usage_at

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = pytest.mark.django_db


@pytest.mark.criterion("3.9")
def test_the_duration_of_a_job_is_not_a_latency_of_its_base_model(cast: Cast) -> None:
    usage_at(cast.acme, timezone.now(), total_s=1.0)
    usage_at(cast.acme, timezone.now(), total_s=90.0, endpoint="/v1/fine_tuning/jobs")
    (speed,) = model_speeds().values()
    assert (speed.requests, speed.total_s) == (1, (1.0, 1.0, 1.0))
