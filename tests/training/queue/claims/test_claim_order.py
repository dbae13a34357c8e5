"""The order of claims, compared with an independent statement of the rule."""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tenants.models import Tenant
from tenants.services import tenant_create
from tests.people import Cast
from tests.training.queue.harness.jobs import queued_job
from training.jobs.services import job_cancel
from training.models import FineTuningJob, JobAttempt, TrainingPolicy
from training.queue.claim import Claim, job_claim
from training.queue.endings import Success, attempt_succeed

FIRST = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass
class Rule:
    """The specified order, in plain Python: the jobs that wait, and what each tenant has had."""

    limit: int
    waiting: list[FineTuningJob]
    running: Counter[Any] = field(default_factory=Counter)
    latest: dict[Any, dt.datetime] = field(default_factory=dict)

    def next_job(self) -> FineTuningJob | None:
        """Return the job to be claimed next."""
        allowed_jobs = [job for job in self.waiting if self.running[job.tenant_id] < self.limit]
        return min(allowed_jobs, key=self._rank, default=None)

    def note_claim(self, job: FineTuningJob, at: dt.datetime) -> None:
        """Take note of a claim."""
        self.waiting.remove(job)
        self.running[job.tenant_id] += 1
        self.latest[job.tenant_id] = at

    def _rank(self, job: FineTuningJob) -> tuple[Any, ...]:
        tenant = job.tenant_id
        return -job.priority, self.running[tenant], self.latest.get(tenant, FIRST), job.queued_at, job.id


def queued(tenant: Tenant, **fields: Any) -> FineTuningJob:
    """Create a queued job without a file."""
    return queued_job(tenant, **{"training_file": "file-1", "report": {"examples": 1}, **fields})


def claim(worker_class: str = "default", base_models: tuple[str, ...] = ("base",)) -> Claim | None:
    """Claim a job."""
    return job_claim(worker_class=worker_class, worker_id="tests", base_models=base_models)


def claimed_id(**options: Any) -> str | None:
    """Claim a job and return its id."""
    current_claim = claim(**options)
    return current_claim.job_id if current_claim else None


@pytest.fixture(autouse=True)
def _servers(cast: Cast, redis_url: str) -> None:
    """Tenants and a broker."""


@pytest.mark.criterion("2.7")
@pytest.mark.parametrize("seed", range(3))
def test_claims_and_endings_in_any_order_follow_the_rule(cast: Cast, seed: int, settings: Any) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_tenant_jobs": 3})
    chance = random.Random(seed)
    tenants = [cast.acme, cast.globex, tenant_create(slug="initech", name="Initech", actor="tests")]
    jobs = [queued(chance.choice(tenants), priority=chance.choice((3, 5, 7))) for _ in range(40)]
    rule = Rule(limit=3, waiting=[FineTuningJob.objects.get(id=job.id) for job in jobs])
    running: list[Claim] = []
    while rule.waiting:
        expected = rule.next_job()
        current_claim = claim()
        assert (current_claim.job_id if current_claim else None) == (expected.id if expected else None)
        if current_claim and expected:
            running.append(current_claim)
            rule.note_claim(expected, JobAttempt.objects.get(id=current_claim.token).claimed_at)
        if running and (current_claim is None or chance.random() < 0.6):
            ended_claim = running.pop(chance.randrange(len(running)))
            attempt_succeed(ended_claim.token, Success(fine_tuned_model="", result={}, trained_tokens=0))
            rule.running[FineTuningJob.objects.get(id=ended_claim.job_id).tenant_id] -= 1
    assert claim() is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.criterion("2.7")
@pytest.mark.case("training.27")
def test_racing_workers_claim_each_job_once_and_in_order(cast: Cast, settings: Any) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_tenant_jobs": 100})
    chance = random.Random(1)
    for _ in range(50):
        queued(chance.choice((cast.acme, cast.globex)), priority=chance.randrange(10))
    rule = Rule(limit=100, waiting=list(FineTuningJob.objects.all()))
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        while claim() is not None:
            pass
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    attempts = list(JobAttempt.objects.order_by("claimed_at"))
    assert len({attempt.job_id for attempt in attempts}) == len(attempts) == 50
    for attempt in attempts:
        expected = rule.next_job()
        assert expected is not None
        assert attempt.job_id == expected.id
        rule.note_claim(expected, attempt.claimed_at)


def test_only_jobs_of_the_workers_class_and_models_are_claimed(cast: Cast) -> None:
    queued(cast.acme, worker_class="gpu")
    queued(cast.acme, base_model="other")
    own = queued(cast.acme, priority=0)
    assert [claimed_id(), claimed_id()] == [own.id, None]
    assert claimed_id(worker_class="gpu") is not None
    assert claimed_id(base_models=("other", "more")) is not None


def test_a_delayed_job_lets_others_pass(cast: Cast) -> None:
    delayed_job, other = queued(cast.acme, priority=9), queued(cast.acme)
    later = timezone.now() + dt.timedelta(hours=1)
    FineTuningJob.objects.filter(id=delayed_job.id).update(not_before=later)
    assert [claimed_id(), claimed_id()] == [other.id, None]
    FineTuningJob.objects.filter(id=delayed_job.id).update(not_before=timezone.now())
    assert claimed_id() == delayed_job.id


def test_a_tenants_policy_limits_its_running_jobs(cast: Cast) -> None:
    TrainingPolicy.objects.create(tenant=cast.acme, max_running_jobs=1)
    first, _ = queued(cast.acme, priority=9), queued(cast.acme, priority=9)
    other = queued(cast.globex, priority=1)
    assert [claimed_id(), claimed_id(), claimed_id()] == [first.id, other.id, None]


def test_cancelled_and_unvalidated_jobs_are_not_claimed(cast: Cast) -> None:
    job_cancel(job_id=queued(cast.acme).id, actor="tests")
    queued(cast.acme, report=None)
    assert claimed_id() is None
