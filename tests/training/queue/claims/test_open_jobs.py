"""Limits and costs that depend on a tenant's open jobs, and jobs of inactive tenants."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone, translation

from tenants.files.creation import NewFile, StoredContent
from tenants.files.deletion import FileInUseError, file_delete
from tenants.files.models import PendingObject, Purpose
from tenants.files.uploads import upload_begin
from tenants.services import tenant_update
from tests.people import Cast
from tests.stacks import wait_until
from tests.training.queue.claims.test_claim_order import claim, queued
from tests.training.queue.harness.jobs import job_with_script, messages, queued_job
from training.choices import END_STATUSES, JobPhase, JobStatus, RequestedAction
from training.jobs.failures import Failure
from training.jobs.refusal_texts import refusal_text
from training.jobs.services import job_cancel, job_resume
from training.jobs.transition_errors import JobFileMissingError, OpenJobsLimitError
from training.models import FineTuningJob, JobAttempt
from training.queue.attempts import lease_renew
from training.queue.endings import Success, attempt_fail, attempt_stop
from training.queue.preemption import inactive_tenants_jobs_stop
from training.queue.sweep import jobs_sweep
from training.queue.validation import validation_claim, validations_waiting
from training.supervisor.results.publication import record_success

DISK_FULL = Failure(code="disk_full", message="The disk is full.")


@pytest.fixture(autouse=True)
def _broker(redis_url: str) -> None:
    """A broker for the doorbells."""


def failed_job(cast: Cast) -> FineTuningJob:
    """Return a job of acme that can be resumed."""
    job, current_claim = job_with_script(cast.acme, {}), claim()
    assert current_claim is not None
    attempt_fail(current_claim.token, DISK_FULL)
    job.refresh_from_db()
    assert job.status == JobStatus.FAILED
    return job


def test_failed_jobs_are_resumed_up_to_the_limit_of_open_jobs(cast: Cast, settings: Any) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_open_jobs": 2})
    first, second, third = (failed_job(cast) for _ in range(3))
    queued(cast.globex)
    job_resume(job_id=first.id, actor="tests")
    job_resume(job_id=second.id, actor="tests")
    with pytest.raises(
        OpenJobsLimitError,
        match="resumed: its status is failed, and its tenant already has 2 jobs that have not",
    ) as refusal:
        job_resume(job_id=third.id, actor="tests")
    assert "the tenant's limit of 2 unfinished jobs is reached" in refusal_text(refusal.value)
    third.refresh_from_db()
    assert (third.status, third.error_code) == (JobStatus.FAILED, "disk_full")
    job_resume(job_id=first.id, actor="tests")  # waits already: nothing to resume


def test_a_failed_job_whose_file_is_gone_is_not_resumed(cast: Cast) -> None:
    job = failed_job(cast)
    assert file_delete(file_id=job.training_file, actor="tests"), "no open job needs it"
    with pytest.raises(
        JobFileMissingError, match=f"its file {job.training_file} no longer exists"
    ) as refusal:
        job_resume(job_id=job.id, actor="tests")
    with translation.override("zh-hans"):
        assert refusal_text(refusal.value) == (
            f"任务 {job.id} 无法恢复：其文件 {job.training_file} 已不存在。请重新创建任务。"
        )
    job.refresh_from_db()
    assert (job.status, job.error_code) == (JobStatus.FAILED, "disk_full")


@pytest.mark.django_db(transaction=True)
def test_a_file_is_not_deleted_while_its_job_is_resumed(cast: Cast) -> None:
    job = failed_job(cast)
    errors: list[Exception] = []

    def delete() -> None:
        try:
            file_delete(file_id=job.training_file, actor="tests")
        except FileInUseError as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=delete)
    with transaction.atomic():
        job_resume(job_id=job.id, actor="tests")
        thread.start()
        wait_until(_is_blocked, "the deletion waits")
    thread.join()
    assert [error.users for error in errors if isinstance(error, FileInUseError)] == [[job.id]]


def _is_blocked() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_a_job_whose_cancellation_is_requested_does_not_succeed(cast: Cast) -> None:
    job, current_claim = queued(cast.acme), claim()
    assert current_claim is not None
    job_cancel(job_id=job.id, actor="tests")

    def register() -> str:
        raise AssertionError("nothing is published")

    upload = upload_begin(tenant_id=cast.acme.id, needed_bytes=1, wanted_bytes=1, limit=10)
    content = StoredContent(upload, NewFile(filename="m.csv", purpose=Purpose.FINE_TUNE_RESULTS), 1, "0" * 64)
    record_success(
        current_claim.token, Success(result={}, trained_tokens=1, register=register, contents=[content])
    )
    job.refresh_from_db()
    assert (job.status, job.fine_tuned_model, job.result) == (JobStatus.CANCELLED, "", None)
    assert JobAttempt.objects.get(job=job).outcome == "cancelled"
    assert not PendingObject.objects.exists(), "the reservation of its file is gone"


def plan(rows: QuerySet[FineTuningJob]) -> str:
    """Return how Postgres reads the rows."""
    sql, parameters = rows.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}", parameters)
        return "\n".join(line for (line,) in cursor.fetchall())


def test_open_jobs_are_found_without_reading_those_that_have_ended(cast: Cast) -> None:
    now = timezone.now()
    FineTuningJob.objects.bulk_create(
        FineTuningJob(
            id=f"ftjob-{uuid.uuid4().hex[:24]}",
            tenant=cast.acme,
            base_model="base",
            method="supervised",
            seed=1,
            training_file="file-1",
            status=JobStatus.SUCCEEDED,
            finished_at=now,
        )
        for _ in range(3000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE training_finetuningjob")
    jobs = FineTuningJob.objects.filter(tenant=cast.acme)
    assert "job_open" in plan(jobs.exclude(status__in=END_STATUSES).order_by())
    leased_jobs = jobs.filter(status=JobStatus.VALIDATING_FILES, validation_until__gt=now)
    assert "job_validation_leased" in plan(leased_jobs.order_by())


def test_jobs_of_an_inactive_tenant_wait_until_it_is_active_again(cast: Cast) -> None:
    unchecked_job = queued_job(cast.acme, report=None, training_file="file-1")
    job = queued(cast.acme)
    tenant_update(tenant_id=cast.acme.id, actor="tests", active=False)
    assert claim() is None
    assert not validations_waiting()
    assert validation_claim() is None
    tenant_update(tenant_id=cast.acme.id, actor="tests", active=True)
    current_claim, validation = claim(), validation_claim()
    assert current_claim is not None
    assert validation is not None
    assert (current_claim.job_id, validation.job.id) == (job.id, unchecked_job.id)


def test_a_running_job_of_an_inactive_tenant_stops_with_a_checkpoint_and_waits(cast: Cast) -> None:
    job, current_claim = queued(cast.acme), claim()
    assert current_claim is not None
    FineTuningJob.objects.filter(id=job.id).update(phase=JobPhase.TRAINING)
    assert inactive_tenants_jobs_stop() == 0
    tenant_update(tenant_id=cast.acme.id, actor="tests", active=False)
    jobs_sweep()
    assert inactive_tenants_jobs_stop() == 0, "once is enough"
    job.refresh_from_db()
    assert job.requested_action == RequestedAction.PREEMPT
    lease_renew(current_claim.token)  # it saves its checkpoint meanwhile
    attempt_stop(current_claim.token)
    assert JobAttempt.objects.get(job=job).outcome == "released"
    assert messages(job)[-1] == "The job waits until its tenant is active again and is queued again"
    assert claim() is None
    tenant_update(tenant_id=cast.acme.id, actor="tests", active=True)
    assert claim() is not None
