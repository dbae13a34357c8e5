"""The choices in the schemas of the administrative API are those of the platform."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import pytest

from api.admin_api.schemas import jobs, keys, models, records, tenants
from api.openai.schemas.response_bodies.fine_tuning import CheckpointExtension
from inference_worker.registry.models import Visibility
from inference_worker.registry.readiness import Readiness
from inference_worker.registry.worker_sightings import WorkerStatus
from tenants import choices
from tenants.keys.selectors import KeyState
from training.choices import JobStatus
from training.jobs.checkpoint_jobs import CheckpointState


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (jobs.StatusName, JobStatus),
        (jobs.CheckpointStateName, CheckpointState),
        (CheckpointExtension.model_fields["state"].annotation, CheckpointState),
        (keys.ScopeName, choices.Scope),
        (keys.KeyStateName, KeyState),
        (models.VisibilityName, Visibility),
        (models.ReadinessName, Readiness),
        (models.Worker.model_fields["status"].annotation, WorkerStatus),
        (records.OutcomeName, choices.RecordOutcome),
        (records.UsageRecord.model_fields["state"].annotation, choices.RecordState),
        (tenants.Tier, choices.Tier),
        (tenants.Role, choices.Role),
    ],
)
def test_a_schema_has_every_choice(annotation: Any, values: Iterable[str]) -> None:
    assert sorted(get_args(annotation)) == sorted(str(value) for value in values)
