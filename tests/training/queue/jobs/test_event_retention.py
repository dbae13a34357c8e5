"""Events of jobs that ended long ago are deleted in audited batches; the last one of each job stays."""

from __future__ import annotations

import datetime as dt

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from tenants.models import AdminAudit
from tests.commands import run, run_json
from tests.people import Cast
from tests.training.queue.claims.test_claim_order import queued
from tests.training.queue.harness.jobs import messages
from training.jobs.event_retention import events_purge
from training.jobs.events import event_add
from training.jobs.services import job_cancel
from training.jobs.state import locked_job
from training.models import FineTuningJob, JobAttempt
from training.tasks import job_events_purge_task

pytestmark = pytest.mark.django_db


def ended_job(cast: Cast, *, ago: dt.timedelta, events: int = 0) -> FineTuningJob:
    """Return a job that was cancelled some time ago, with as many events besides the four of each."""
    job = queued(cast.acme)
    with transaction.atomic():
        job_lock = locked_job(job.id)
        for number in range(events):
            event_add(job_lock, f"event {number}")
    job_cancel(job_id=job.id, actor="tests")
    FineTuningJob.objects.filter(id=job.id).update(finished_at=timezone.now() - ago)
    return job


@pytest.fixture(autouse=True)
def _broker(redis_url: str) -> None:
    """A broker."""


def test_old_events_are_deleted_apart_from_the_one_that_tells_the_end(cast: Cast) -> None:
    days, minute = dt.timedelta(days=settings.CYLLM.training_event_days), dt.timedelta(minutes=1)
    old, recent = ended_job(cast, ago=days + minute), ended_job(cast, ago=days - minute)
    running = queued(cast.acme)
    attempts = [
        JobAttempt.objects.create(
            job=job,
            number=1,
            outcome="failed",
            claimed_at=timezone.now(),
            lease_until=timezone.now(),
            log="text",
        )
        for job in (old, recent)
    ]
    kept_messages = messages(recent), messages(running)
    last = messages(old)[-1]
    assert job_events_purge_task() == 3
    assert messages(old) == [last] == ["Fine-tuning job cancelled"]
    assert (messages(recent), messages(running)) == kept_messages
    assert [JobAttempt.objects.get(id=attempt.id).log for attempt in attempts] == ["", "text"]
    purge = AdminAudit.objects.get(action="job.purge_events")
    assert (purge.actor, purge.object_id, purge.tenant_id) == ("system:job-event-purge", old.id, cast.acme.id)
    assert purge.before == {"events": 3, "last": 3}
    assert job_events_purge_task() == 0


def test_the_command_deletes_the_events_of_a_tenants_jobs(cast: Cast) -> None:
    job, days = ended_job(cast, ago=dt.timedelta(days=2), events=1), dt.timedelta(days=1)
    bounds = ("jobs", "purge-events", "--before", f"{timezone.now() - days:%Y-%m-%dT%H:%M}")
    assert run_json(*bounds, "--tenant", "globex", "--yes")["events_of_jobs"] == 0
    assert run_json(*bounds, "--tenant", "acme")["events_of_jobs"] == 4
    assert len(messages(job)) == 5
    assert "events of jobs: 4" in run(*bounds, "--yes")
    assert len(messages(job)) == 1
    purge = AdminAudit.objects.get(action="job.purge_events")
    assert (purge.object_id, purge.actor[:4]) == (job.id, "cli:")


@pytest.mark.case("serving.38")
def test_events_are_deleted_in_batches_oldest_first(cast: Cast) -> None:
    job = ended_job(cast, ago=dt.timedelta(days=2), events=5)
    assert events_purge(before=timezone.now() - dt.timedelta(days=1), actor="tests", batch=3) == 8
    purges = AdminAudit.objects.filter(action="job.purge_events").order_by("id")
    assert [purge.before for purge in purges] == [
        {"events": 3, "last": 3},
        {"events": 3, "last": 6},
        {"events": 2, "last": 8},
    ]
    assert len(messages(job)) == 1
