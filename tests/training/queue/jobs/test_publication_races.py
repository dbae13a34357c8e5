"""Publications whose job, tenant, base model or storage changes in the meantime."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from inference_worker.registry.models import Adapter
from inference_worker.registry.services import model_register, model_remove
from tenants.services import tenant_update
from tests.people import Cast
from tests.training.queue.harness.checkpoints import (
    AGREEMENT,
    ended_job,
    publish,
    save_checkpoint,
    use_training_folder,
    work,
)
from training.choices import JobPhase
from training.jobs.services import job_cancel, job_pause, job_resume
from training.models import FineTuningJob, JobAttempt, JobCheckpoint
from training.publishing import publish as publishing
from training.publishing.agreement import Agreement
from training.publishing.model_names import model_names
from training.publishing.verification import Candidate, VerificationContext
from training.queue.preemption import inactive_tenants_jobs_stop

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def job(
    cast: Cast, settings: Any, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> FineTuningJob:
    """A queued publication, whose verification succeeds."""
    use_training_folder(settings, tmp_path, tiny_model)
    checkpoint = JobCheckpoint.objects.get(job=ended_job(cast, 10))
    save_checkpoint(tmp_path, checkpoint, tiny_model)
    monkeypatch.setattr(publishing, "verify", lambda _candidate, _context: AGREEMENT)
    return publish(checkpoint, cast)


def _during_verification(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Let something happen while an inference worker verifies; ``verify`` reports its phase afterwards."""

    def verify(_candidate: Candidate, context: VerificationContext) -> Agreement:
        context.report_phase(JobPhase.VERIFYING)
        change()
        return AGREEMENT

    monkeypatch.setattr(publishing, "verify", verify)


def _until_interrupted(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Like ``_during_verification``, but the inference worker never answers."""

    def verify(_candidate: Candidate, context: VerificationContext) -> Agreement:
        context.report_phase(JobPhase.VERIFYING)
        change()
        for _ in range(400):
            time.sleep(0.05)
            context.report_phase(JobPhase.VERIFYING)
        raise AssertionError("the attempt was not interrupted")

    monkeypatch.setattr(publishing, "verify", verify)


def _outcome(job: FineTuningJob) -> tuple[str, str]:
    attempt = JobAttempt.objects.filter(job=job).latest("number")
    return attempt.outcome, attempt.error_code


def test_a_job_cancelled_during_verification_leaves_no_model(
    job: FineTuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    _during_verification(monkeypatch, lambda: job_cancel(job_id=job.id, actor="tests"))
    work(job)
    assert (job.status, _outcome(job)) == ("cancelled", ("cancelled", ""))
    assert not Adapter.objects.across_tenants().exists()


def test_a_job_paused_during_verification_keeps_its_place_and_publishes_later(
    job: FineTuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    _until_interrupted(monkeypatch, lambda: job_pause(job_id=job.id, actor="tests"))
    work(job)
    assert job.status == "paused"
    monkeypatch.setattr(publishing, "verify", lambda _candidate, _context: AGREEMENT)
    job_resume(job_id=job.id, actor="tests")
    work(job)
    assert job.status == "succeeded"


def test_a_base_model_removed_during_verification_fails_the_job_with_its_name(
    job: FineTuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    _during_verification(monkeypatch, lambda: model_remove(name="tiny", actor="tests"))
    work(job)
    assert (job.status, job.error_code) == ("failed", "model_not_found")
    assert not Adapter.objects.across_tenants().exists()


def test_a_model_that_took_both_names_meanwhile_is_not_replaced(
    job: FineTuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is kept: once a name is free, the job is resumed and publishes it."""

    def take_names() -> None:
        for name in model_names(job):
            model_register(name=name, actor="tests")

    _during_verification(monkeypatch, take_names)
    work(job)
    assert (job.status, job.error_code) == ("failed", "model_name_taken")
    model_remove(name=model_names(job)[0], actor="tests")
    monkeypatch.setattr(publishing, "verify", lambda _candidate, _context: AGREEMENT)
    job_resume(job_id=job.id, actor="tests")
    work(job)
    assert (job.status, job.fine_tuned_model) == ("succeeded", model_names(job)[0])


def test_a_storage_that_fails_at_the_registration_is_an_attempt_that_is_tried_again(
    job: FineTuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_sha256: str) -> bool:
        raise RuntimeError("https://user:password@storage.example")

    with monkeypatch.context() as patch:
        _during_verification(
            patch, lambda: patch.setattr("inference_worker.registry.archives.archive_exists", fail)
        )
        work(job)
    assert (job.status, _outcome(job)) == ("queued", ("failed", "storage_unavailable"))
    FineTuningJob.objects.update(not_before=None)
    work(job)
    assert job.status == "succeeded"


def test_an_unexpected_error_of_the_registration_ends_the_attempt_at_once(
    job: FineTuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValidationError("odd")

    monkeypatch.setattr(publishing, "adapter_register", fail)
    work(job)
    assert (job.status, _outcome(job)) == ("queued", ("failed", "internal_error"))


def test_a_job_of_a_tenant_that_becomes_inactive_stops_before_its_result_is_verified(
    cast: Cast, job: FineTuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deactivate() -> None:
        tenant_update(tenant_id=cast.acme.id, actor="tests", active=False)
        assert inactive_tenants_jobs_stop() == 1

    _until_interrupted(monkeypatch, deactivate)
    work(job)
    assert job.status == "queued"
    assert not Adapter.objects.across_tenants().exists()
