"""Asynchronous access to fine-tuning jobs, each tenant to its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api.gateway.capacity.tenant_semaphore import TenantSemaphore
from api.gateway.state.database import THREADS, Database
from api.gateway.state.job_creation import create_job
from api.gateway.state.job_objects import checkpoint_object, encode_json, event_object, job_object
from api.job_errors import action_error, publication_error
from api.openai.errors.base import printable
from api.openai.errors.fine_tuning import CheckpointNotFound, FineTuningJobNotFound
from api.openai.errors.parameters import InvalidValue
from api.openai.schemas.response_bodies.fine_tuning import EVENT_PREFIX
from inference_worker.protocol.messages import Heartbeat
from tenants.keys.selectors import KeyPrincipal
from training.choices import END_STATUSES, JobAction
from training.jobs import selectors, services
from training.jobs.checkpoint_jobs import CheckpointRefusedError, checkpoint_publish, checkpoint_states
from training.jobs.transition_errors import JobTransitionError
from training.models import FineTuningJob, JobCheckpoint
from training.publishing.model_names import model_names
from training.requests.checks.base_model import highest_rank
from training.requests.job_request import JobRequest

T = TypeVar("T")
# Creation rings a doorbell after its commit, which takes seconds if the broker is down.
WRITE_TIMEOUT_S = 15.0
_JOB_ID = re.compile(r"ftjob-[A-Za-z0-9]{1,58}", re.ASCII)
_CHECKPOINT_ID = re.compile(r"ftckpt_[A-Za-z0-9]{1,57}", re.ASCII)


@dataclass(frozen=True, slots=True)
class JobHead:
    """The number of a job's last event, and whether the job has ended."""

    last_number: int
    has_ended: bool


@dataclass(frozen=True, slots=True)
class NumberedEvent:
    """An event of a job: its number and its JSON."""

    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list. ``metadata``: None applies no filter, {} selects jobs without metadata."""

    limit: int
    after: str | None = None
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class FineTuningStore:
    """Reads and changes jobs. Every method raises DatabaseUnavailable.

    ``semaphore`` bounds the database threads that one tenant occupies.
    """

    database: Database
    semaphore: TenantSemaphore = field(default_factory=lambda: TenantSemaphore(THREADS // 2))

    async def create(
        self,
        request: JobRequest,
        workers: Sequence[Heartbeat],
        usable_models: Collection[str],
        principal: KeyPrincipal,
        correlation_id: str,
    ) -> dict[str, Any]:
        """Create a job and return it. ``workers``: the live ones. Raises ApiError.

        ``usable_models``: names of the models that the key may use.
        """
        rank = highest_rank(request.base_model, workers)
        return await self._call(
            principal, create_job, request, principal, rank, usable_models, correlation_id
        )

    async def find(self, job_id: str, principal: KeyPrincipal) -> dict[str, Any]:
        """Return the tenant's job. Raises FineTuningJobNotFound."""
        return await self._call(principal, _find_object, job_id, principal)

    async def jobs(self, page: Page, principal: KeyPrincipal) -> dict[str, Any]:
        """Return a page of the tenant's jobs, newest first. Raises InvalidValue for an unknown cursor."""
        return await self._call(principal, _jobs, page, principal)

    async def events(self, job_id: str, page: Page, principal: KeyPrincipal) -> dict[str, Any]:
        """Return a page of events, newest first. Raises FineTuningJobNotFound, InvalidValue."""
        return await self._call(principal, _events, job_id, page, principal)

    async def checkpoints(self, job_id: str, page: Page, principal: KeyPrincipal) -> dict[str, Any]:
        """Return a page of checkpoints, newest first. Raises FineTuningJobNotFound, InvalidValue."""
        return await self._call(principal, _checkpoints, job_id, page, principal)

    async def act(self, action: str, job_id: str, principal: KeyPrincipal) -> dict[str, Any]:
        """Cancel, pause or resume the tenant's job. Raises FineTuningJobNotFound, ApiError."""
        return await self._call(principal, _act, action, job_id, principal)

    async def publish(
        self, job_id: str, checkpoint_id: str, principal: KeyPrincipal, correlation_id: str
    ) -> dict[str, Any]:
        """Return the job that publishes a checkpoint of the tenant's job, a new one unless there is one.

        Raises FineTuningJobNotFound, ApiError.
        """
        return await self._call(principal, _publish, job_id, checkpoint_id, principal, correlation_id)

    async def tenant_head(self, job_id: str, principal: KeyPrincipal) -> JobHead:
        """Return the state of the tenant's events. Raises FineTuningJobNotFound."""
        return await self._call(principal, _tenant_head, job_id, principal)

    async def head(self, job_id: str) -> JobHead:
        """Return the state of a job's events; those of a deleted job have ended."""
        return await self.database.call(_head, job_id)

    async def events_after(self, job_id: str, number: int, limit: int) -> Sequence[NumberedEvent]:
        """Return up to ``limit`` events after a number, oldest first."""
        return await self.database.call(_events_after, job_id, number, limit)

    async def _call(self, principal: KeyPrincipal, function: Callable[..., T], *args: object) -> T:
        async with self.semaphore.acquire(str(principal.tenant_id)):
            return await self.database.call(function, *args, timeout_s=WRITE_TIMEOUT_S)


def _find(job_id: str, principal: KeyPrincipal) -> FineTuningJob:
    # Postgres rejects text that contains a NUL character.
    job = None
    if _JOB_ID.fullmatch(job_id):
        job = selectors.job_find(tenant_id=principal.tenant_id, job_id=job_id)
    if job is None:
        raise FineTuningJobNotFound(job_id=printable(job_id))
    return job


def _find_object(job_id: str, principal: KeyPrincipal) -> dict[str, Any]:
    return job_object(_find(job_id, principal), principal.tenant_slug)


def _jobs(page: Page, principal: KeyPrincipal) -> dict[str, Any]:
    after = None
    if page.after is not None:
        try:
            after = _find(page.after, principal)
        except FineTuningJobNotFound:
            raise _unknown_cursor("job", page.after) from None
    rows = selectors.jobs_page(
        tenant_id=principal.tenant_id, limit=page.limit + 1, after=after, metadata=page.metadata
    )
    return _list([job_object(job, principal.tenant_slug) for job in rows], page.limit)


def _events(job_id: str, page: Page, principal: KeyPrincipal) -> dict[str, Any]:
    job = _find(job_id, principal)
    before = None if page.after is None else _event_number(job, page.after)
    rows = selectors.events_before(job, before, page.limit + 1)
    return _list([event_object(event) for event in rows], page.limit)


def _event_number(job: FineTuningJob, event_id: str) -> int:
    """Return the number in the id of one of the job's events. Raises InvalidValue."""
    stem = EVENT_PREFIX + job.id.removeprefix("ftjob-") + "-"
    digits = event_id.removeprefix(stem)
    if digits == event_id or re.fullmatch("[1-9][0-9]{0,9}", digits) is None or int(digits) >= job.next_event:
        raise _unknown_cursor("event", event_id)
    return int(digits)


def _checkpoints(job_id: str, page: Page, principal: KeyPrincipal) -> dict[str, Any]:
    job = _find(job_id, principal)
    rows = selectors.checkpoints(job)
    if page.after is not None:
        last = rows.filter(id=page.after).first() if _CHECKPOINT_ID.fullmatch(page.after) else None
        if last is None:
            raise _unknown_cursor("checkpoint", page.after)
        rows = rows.filter(step__lt=last.step)
    model = job.fine_tuned_model or model_names(job)[0]
    states = checkpoint_states(job)
    objects = [checkpoint_object(row, job, model, states.of(row)) for row in rows[: page.limit + 1]]
    body = _list(objects, page.limit)
    ids = [checkpoint["id"] for checkpoint in body["data"]]
    return {**body, "first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}


def _list(objects: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    return {"object": "list", "data": objects[:limit], "has_more": len(objects) > limit}


def _unknown_cursor(kind: str, cursor: str) -> InvalidValue:
    return InvalidValue(param="after", reason=f"there is no {kind} '{printable(cursor)}'")


def _act(action: str, job_id: str, principal: KeyPrincipal) -> dict[str, Any]:
    _find(job_id, principal)
    try:
        job = services.job_act(JobAction(action), job_id=job_id, actor=principal.actor)
    except JobTransitionError as error:
        raise action_error(error) from None
    return job_object(job, principal.tenant_slug)


def _publish(job_id: str, checkpoint_id: str, principal: KeyPrincipal, correlation_id: str) -> dict[str, Any]:
    source = _find(job_id, principal)
    try:
        # Postgres rejects text that contains a NUL character.
        if not _CHECKPOINT_ID.fullmatch(checkpoint_id):
            raise JobCheckpoint.DoesNotExist
        job = checkpoint_publish(
            tenant_id=principal.tenant_id,
            job_id=source.id,
            checkpoint_id=checkpoint_id,
            actor=principal.actor,
            correlation_id=correlation_id,
        )
    except JobCheckpoint.DoesNotExist:
        raise CheckpointNotFound(job_id=source.id, checkpoint_id=printable(checkpoint_id)) from None
    except CheckpointRefusedError as error:
        raise publication_error(error, checkpoint_id) from None
    return job_object(job, principal.tenant_slug)


def _tenant_head(job_id: str, principal: KeyPrincipal) -> JobHead:
    return _job_head(_find(job_id, principal))


def _head(job_id: str) -> JobHead:
    job = selectors.job_head(job_id)
    return JobHead(0, True) if job is None else _job_head(job)


def _job_head(job: FineTuningJob) -> JobHead:
    return JobHead(job.next_event - 1, job.status in END_STATUSES)


def _events_after(job_id: str, number: int, limit: int) -> list[NumberedEvent]:
    events = selectors.events_after(job_id, number, limit)
    return [NumberedEvent(event.number, encode_json(event_object(event))) for event in events]
