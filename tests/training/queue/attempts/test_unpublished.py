"""Results that don't become models are stored as archives in the tenant's files."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from django.test import override_settings

from tenants.files.models import PendingObject, StoredFile
from tenants.files.selectors import file_open
from tests.training.queue.harness.disk import MOST_BYTES, full_disk
from tests.training.queue.harness.jobs import MakeJob
from tests.training.queue.harness.scripted_trainer import EVALUATION
from training.choices import JobPhase
from training.engine.events import Finished
from training.jobs.failures import Failure
from training.models import FineTuningJob
from training.publishing.errors import PublishingError
from training.queue.attempts import AttemptFencedError
from training.queue.claim import Claim, job_claim
from training.queue.endings import attempt_stop
from training.supervisor.persistence import run_once
from training.supervisor.results.publication import publish, record_success


def finished_run(folder: Path) -> Finished:
    """Return the last event of a run with a result in this folder."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return Finished(
        step=4,
        reason="completed",
        result_dir=str(folder),
        trained_tokens=200,
        evaluated_on="training",
        base=EVALUATION,
        result=EVALUATION,
        probe_prompts=(),
    )


def _claimed(make_job: MakeJob) -> tuple[FineTuningJob, Claim]:
    job = make_job(options={"adapter": "dora", "publish": False})
    claim = job_claim(worker_class="default", worker_id="w", base_models=["base"])
    assert claim is not None
    return job, claim


@pytest.mark.django_db
@pytest.mark.case("training.22")
def test_an_unpublished_result_is_an_archive_of_the_tenant(make_job: MakeJob, tmp_path: Path) -> None:
    job, claim = _claimed(make_job)
    phases: list[JobPhase] = []
    success = publish(
        job, claim.token, finished_run(tmp_path / "result"), report_phase=phases.append, persist=run_once
    )
    record_success(claim.token, success)
    job.refresh_from_db()
    assert (job.status, job.fine_tuned_model, phases) == ("succeeded", "", [JobPhase.PUBLISHING])
    assert job.result is not None
    file = StoredFile.objects.get(id=job.result["result_files"][1])
    assert (file.tenant_id, file.filename, file.purpose) == (
        job.tenant_id,
        f"{job.id}-result.tar",
        "fine-tune-results",
    )
    with file_open(file) as content, tarfile.open(fileobj=content) as tar:
        members = {member.name: (member.uid, member.uname) for member in tar}
    assert members == {"adapter_config.json": (0, ""), "adapter_model.safetensors": (0, "")}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("limit", "size", "remedy"),
    [
        ("tenant_file_bytes", tarfile.RECORDSIZE, "Delete files"),  # the archive's size: it alone would fit
        ("tenant_file_bytes", 1024, "a higher limit of the tenant's files"),
        ("max_file_bytes", 1024, "CYLLM_MAX_FILE_BYTES"),
    ],
)
def test_a_result_beyond_a_limit_fails_with_a_remedy(
    make_job: MakeJob, tmp_path: Path, limit: str, size: int, remedy: str
) -> None:
    from django.conf import settings

    job, claim = _claimed(make_job)
    last_event = finished_run(tmp_path / "result")
    tight = settings.CYLLM.model_copy(update={limit: size})
    with override_settings(CYLLM=tight), pytest.raises(PublishingError) as error:
        publish(job, claim.token, last_event, report_phase=lambda _: None, persist=run_once)
    assert error.value.failure.code == "result_too_large"
    assert remedy in error.value.failure.next_step
    assert StoredFile.objects.filter(purpose="fine-tune-results").count() == 0


@pytest.mark.django_db
@pytest.mark.criterion("2.3")
def test_a_result_for_which_the_worker_has_no_space_names_the_full_disk(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job, claim = _claimed(make_job)
    last_event = finished_run(tmp_path / "result")
    (tmp_path / "result" / "model.safetensors").write_bytes(b"x" * 2 * MOST_BYTES)
    with full_disk(), pytest.raises(PublishingError) as error:
        publish(job, claim.token, last_event, report_phase=lambda _: None, persist=run_once)
    assert (error.value.failure.code, error.value.failure.is_transient) == ("disk_full", True)
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["fenced", "fails"])
def test_attempts_without_success_leave_no_files(make_job: MakeJob, tmp_path: Path, way: str) -> None:
    job, claim = _claimed(make_job)
    last_event = finished_run(tmp_path / "result")
    success = publish(job, claim.token, last_event, report_phase=lambda _: None, persist=run_once)
    assert StoredFile.objects.filter(purpose="fine-tune-results").count() == 0
    if way == "fenced":
        attempt_stop(claim.token)  # as the sweep ends a lost one
        with pytest.raises(AttemptFencedError):
            record_success(claim.token, success)
    else:
        record_success(claim.token, replace(success, register=_refuse))
    assert PendingObject.objects.count() == 0
    assert StoredFile.objects.filter(purpose="fine-tune-results").count() == 0
    FineTuningJob.objects.update(not_before=None)
    again = job_claim(worker_class="default", worker_id="w", base_models=["base"])
    assert again is not None
    success = publish(job, again.token, last_event, report_phase=lambda _: None, persist=run_once)
    record_success(again.token, success)
    job.refresh_from_db()
    assert job.result is not None
    files = StoredFile.objects.filter(purpose="fine-tune-results").values_list("id", flat=True)
    assert sorted(files) == sorted(job.result["result_files"])
    assert len(files) == 2


def _refuse() -> str:
    raise PublishingError(Failure(code="storage_unavailable", message="No.", is_transient=True))
