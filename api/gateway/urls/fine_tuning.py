"""Routes of fine-tuning jobs."""

from __future__ import annotations

from collections.abc import Iterator

from api.gateway.document import error_groups
from api.gateway.endpoints.fine_tuning import CHECKPOINTS_QUERY, EVENTS_QUERY, JOBS_QUERY
from api.gateway.http.url_table import Route, RouteDoc
from api.openai.errors.models import ModelNotFound
from api.openai.errors.service import RedisUnavailable
from api.openai.schemas.fine_tuning import FineTuningRequest
from api.openai.schemas.response_bodies.fine_tuning import (
    FineTuningJob,
    FineTuningJobCheckpointList,
    FineTuningJobEvent,
    FineTuningJobEventList,
    FineTuningJobList,
)
from tenants.choices import Scope

JOBS = "/v1/fine_tuning/jobs"
FINE_TUNE = (Scope.FINE_TUNING.value,)
READ_JOBS = (Scope.FINE_TUNING_READ.value, Scope.FINE_TUNING.value)
ACTIONS = {
    "cancel": "Cancel a fine-tuning job; one that runs ends at its next step.",
    "pause": "Pause a fine-tuning job; one that runs saves a checkpoint and stops at its next step.",
    "resume": "Resume a paused fine-tuning job from its latest checkpoint.",
}


def fine_tuning_routes() -> Iterator[Route]:
    """Return the routes of jobs, of their events and of their checkpoints."""
    yield from _collection_routes()
    yield Route(
        "GET",
        f"{JOBS}/{{id}}",
        lambda endpoints: endpoints.fine_tuning.retrieve,
        RouteDoc("Retrieve a fine-tuning job.", FineTuningJob, errors=error_groups.FINE_TUNING_JOB),
        READ_JOBS,
        query={},
    )
    for action, summary in ACTIONS.items():
        yield _action_route(action, summary)
    yield from _part_routes()


def _collection_routes() -> Iterator[Route]:
    yield Route(
        "POST",
        JOBS,
        lambda endpoints: endpoints.fine_tuning.create,
        RouteDoc(
            "Create a fine-tuning job.",
            FineTuningJob,
            errors=error_groups.FINE_TUNING_CREATION | {ModelNotFound},
        ),
        FINE_TUNE,
        FineTuningRequest,
    )
    yield Route(
        "GET",
        JOBS,
        lambda endpoints: endpoints.fine_tuning.list,
        RouteDoc("List fine-tuning jobs, newest first.", FineTuningJobList),
        READ_JOBS,
        query=JOBS_QUERY,
    )


def _action_route(action: str, summary: str) -> Route:
    is_resumption = action == "resume"
    errors = error_groups.FINE_TUNING_RESUMPTION if is_resumption else error_groups.FINE_TUNING_ACTION
    return Route(
        "POST",
        f"{JOBS}/{{id}}/{action}",
        lambda endpoints: endpoints.fine_tuning.action(action),
        RouteDoc(summary, FineTuningJob, errors=errors),
        FINE_TUNE,
        query={},
    )


def _part_routes() -> Iterator[Route]:
    yield Route(
        "GET",
        f"{JOBS}/{{id}}/events",
        lambda endpoints: endpoints.fine_tuning.events,
        RouteDoc(
            "List the events of a fine-tuning job, newest first, or stream them from any number on, oldest "
            "first.",
            FineTuningJobEventList,
            FineTuningJobEvent,
            errors=error_groups.FINE_TUNING_JOB | {RedisUnavailable},
        ),
        READ_JOBS,
        query=EVENTS_QUERY,
    )
    yield Route(
        "GET",
        f"{JOBS}/{{id}}/checkpoints",
        lambda endpoints: endpoints.fine_tuning.checkpoints,
        RouteDoc(
            "List the checkpoints of a fine-tuning job, newest first.",
            FineTuningJobCheckpointList,
            errors=error_groups.FINE_TUNING_JOB,
        ),
        READ_JOBS,
        query=CHECKPOINTS_QUERY,
    )
    yield Route(
        "POST",
        f"{JOBS}/{{id}}/checkpoints/{{checkpoint}}/publish",
        lambda endpoints: endpoints.fine_tuning.publish,
        RouteDoc(
            "Make a checkpoint of an ended fine-tuning job a model. Returns the job that verifies and "
            "registers it; repeating the request returns the same one.",
            FineTuningJob,
            errors=error_groups.FINE_TUNING_PUBLICATION,
        ),
        FINE_TUNE,
        query={},
    )
