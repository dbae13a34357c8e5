"""A checkpoint becomes a model by a job of its own, which copies, checks and verifies it like any result."""

from __future__ import annotations

import datetime as dt
import errno
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from inference_worker.registry.adapter_services import adapter_delete
from inference_worker.registry.models import Adapter
from inference_worker.registry.services import model_register, model_remove, model_update
from tenants.models import AdminAudit, Tenant, UsageRecord
from tests.people import Cast
from tests.stacks import wait_until
from tests.training.queue.harness.checkpoints import (
    AGREEMENT,
    ended_job,
    publish,
    save_checkpoint,
    use_training_folder,
    work,
)
from tests.training.queue.harness.jobs import messages
from training.choices import JobStatus
from training.jobs.checkpoint_jobs import (
    CheckpointRefusedError,
    CheckpointState,
    checkpoint_publish,
    checkpoint_states,
)
from training.jobs.refusal_texts import refusal_text
from training.jobs.services import job_resume
from training.jobs.state import locked_job
from training.jobs.transition_errors import BaseModelMissingError, OtherPublicationError
from training.models import FineTuningJob, JobAttempt, JobCheckpoint
from training.publishing import publish as publishing
from training.publishing.agreement import Agreement
from training.publishing.errors import PublishingError
from training.publishing.verification import Candidate
from training.requests.refusals import TooManyJobs
from training.supervisor.folders import LOCK_FILE, JobFolder
from training.supervisor.results.checkpoints import publish_checkpoint

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def folder(settings: Any, tmp_path: Path, tiny_model: Path) -> Path:
    """The folder of the training workers, which train the model “tiny”."""
    use_training_folder(settings, tmp_path, tiny_model)
    return tmp_path


def test_a_checkpoint_becomes_a_model_of_its_tenant_after_the_same_verification(
    cast: Cast, folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ended_job(cast, 10, 20, 30, seed=4)
    checkpoint = JobCheckpoint.objects.get(job=source, step=20)
    path = save_checkpoint(folder, checkpoint, tiny_model)
    candidates: list[Candidate] = []

    def verify(candidate: Candidate, _context: Any) -> Agreement:
        candidates.append(candidate)
        return AGREEMENT

    monkeypatch.setattr(publishing, "verify", verify)
    job = publish(checkpoint, cast)
    assert (job.status, job.source_checkpoint_id, job.created_by) == ("queued", checkpoint.id, "user:member")
    assert publish(checkpoint, cast).id == job.id, "a second click creates no second job"
    work(job)
    assert job.error_message == ""
    [adapter] = Adapter.objects.for_tenant(cast.acme.id)
    short_id = source.id.removeprefix("ftjob-")[:8]
    assert job.fine_tuned_model == adapter.model.name == f"ft:tiny:acme:mine:{short_id}:ckpt-step-20"
    assert (job.status, job.artifact_sha256, adapter.job_id) == ("succeeded", adapter.sha256, job.id)
    assert job.result is not None
    assert (job.result["step"], job.result["verification"]["tokens"]) == (20, 24)
    [candidate] = candidates
    assert candidate.prompts
    assert all(candidate.prompts)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (candidate.folder / name).read_bytes() == (path / name).read_bytes()
    assert messages(job)[0] == f"Created job to publish the checkpoint of step 20 of {source.id}"
    record = UsageRecord.objects.get(request_id=f"{job.id}-1")
    assert (record.trained_tokens, record.cost_microusd) == (0, 0)
    audit = AdminAudit.objects.get(object_id=job.id, action="job.create")
    assert audit.actor == "user:member"
    assert publish(checkpoint, cast).id == job.id, "a click on an old page makes no second model"
    adapter_delete(name=job.fine_tuned_model, tenant_id=cast.acme.id, actor="tests")
    assert publish(checkpoint, cast).status == "queued", "its model was deleted"


def test_a_checkpoint_that_is_gone_or_damaged_fails_its_job_with_cause_and_next_step(
    cast: Cast, folder: Path, tiny_model: Path
) -> None:
    source = ended_job(cast, 10, 20)
    first, second = JobCheckpoint.objects.filter(job=source).order_by("step")
    job = publish(first, cast)
    work(job)
    assert (job.status, job.error_code) == ("failed", "checkpoint_not_found")
    assert "the same CYLLM_TRAINING_DIR; then publish it again" in job.error_message, "it has no checkpoint"
    path = save_checkpoint(folder, second, tiny_model)
    (path / "adapter_model.safetensors").write_bytes(b"damaged")
    job = publish(second, cast)
    work(job)
    assert (job.status, job.error_code) == ("failed", "checkpoint_damaged")
    assert "adapter_model.safetensors has 7 bytes" in job.error_message
    again = publish(first, cast)
    assert again.status == "queued", "a failed publication can be tried again"
    work(again)
    assert (again.status, again.error_code) == ("failed", "checkpoint_not_found"), (
        "the folder has other steps"
    )
    assert "larger keep_checkpoints" in again.error_message


def test_a_checkpoint_whose_job_runs_again_is_published_when_that_has_ended(
    cast: Cast, folder: Path, tiny_model: Path, settings: Any
) -> None:
    checkpoint = JobCheckpoint.objects.get(job=ended_job(cast, 10))
    save_checkpoint(folder, checkpoint, tiny_model)
    job = publish(checkpoint, cast)
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_lease_s": 0.1})
    with JobFolder(folder / checkpoint.job_id).lock(0.0), pytest.raises(PublishingError) as error:
        publish_checkpoint(job, checkpoint, report_phase=lambda _: None)
    failure = error.value.failure
    assert (failure.code, failure.is_transient) == ("checkpoint_unavailable", True)
    assert "is running again" in failure.message
    assert checkpoint.job_id in failure.next_step


def test_a_full_disk_leaves_no_part_of_a_copy_and_the_job_is_tried_again(
    cast: Cast, folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = JobCheckpoint.objects.get(job=ended_job(cast, 10))
    save_checkpoint(folder, checkpoint, tiny_model)
    job = publish(checkpoint, cast)

    def fill(_source: Path, target: Path) -> None:
        target.write_bytes(b"part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", fill)
    work(job)
    attempt = JobAttempt.objects.get(job=job)
    assert (job.status, attempt.error_code) == ("queued", "disk_full")
    assert [path.name for path in (folder / job.id).iterdir()] == [LOCK_FILE]


def test_a_publication_waits_for_its_job_before_it_locks_the_tenant(cast: Cast) -> None:
    checkpoint = JobCheckpoint.objects.get(job=ended_job(cast, 10))

    def is_waiting() -> bool:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        with connection.cursor() as cursor:
            cursor.execute(f"{waiting} AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")
            return bool(cursor.fetchone()[0])

    def publish_status() -> str:
        try:
            return publish(checkpoint, cast).status
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as executor:
        with transaction.atomic():
            locked_job(checkpoint.job_id)
            publication = executor.submit(publish_status)
            wait_until(is_waiting, "the publication waits")
            # A resumption does the same; in the other order, both would wait for each other.
            Tenant.objects.select_for_update(no_key=True, nowait=True).get(id=cast.acme.id)
        assert publication.result(10) == "queued"


def test_a_publication_is_resumed_without_the_files_of_its_job(cast: Cast, folder: Path) -> None:
    source = ended_job(cast, 10)
    job = publish(JobCheckpoint.objects.get(job=source), cast)
    FineTuningJob.objects.filter(id=job.id).update(status="failed", error_code="no_inference_worker")
    assert job_resume(job_id=job.id, actor="tests").status == "queued"


def test_a_checkpoint_is_published_once_however_often_its_publication_is_tried(cast: Cast) -> None:
    source = ended_job(cast, 10)
    checkpoint = JobCheckpoint.objects.get(job=source)
    first = publish(checkpoint, cast)
    row = FineTuningJob.objects.filter(id=first.id)
    row.update(status="failed", error_code="worker_lost", finished_at=timezone.now())
    second = publish(checkpoint, cast)
    assert second.id != first.id
    with pytest.raises(
        OtherPublicationError, match=f"the job {second.id} publishes its checkpoint"
    ) as excinfo:
        job_resume(job_id=first.id, actor="tests")
    assert second.id in refusal_text(excinfo.value)
    with pytest.raises(IntegrityError, match="job_publication_once"), transaction.atomic():
        row.update(status="queued")
    # The same holds once the other one has succeeded, for as long as its model exists.
    model_register(name="ft:published", actor="tests")
    winner = FineTuningJob.objects.filter(id=second.id)
    winner.update(status="succeeded", fine_tuned_model="ft:published")
    with pytest.raises(OtherPublicationError, match=second.id):
        job_resume(job_id=first.id, actor="tests")
    model_remove(name="ft:published", actor="tests")
    assert job_resume(job_id=first.id, actor="tests").status == "queued"
    assert publish(checkpoint, cast).id == first.id


def test_no_publication_starts_without_a_base_model_that_the_tenant_may_use(cast: Cast) -> None:
    source = ended_job(cast, 10)
    checkpoint = JobCheckpoint.objects.get(job=source)
    job = publish(checkpoint, cast)
    FineTuningJob.objects.filter(id=job.id).update(status="failed", error_code="worker_lost")
    obstacles: list[Callable[[], object]] = [
        lambda: model_update(name="tiny", actor="tests", visibility="restricted"),
        lambda: model_update(name="tiny", actor="tests", visibility="public", enabled=False),
        lambda: model_remove(name="tiny", actor="tests"),
    ]
    for create_obstacle in obstacles:
        create_obstacle()
        with pytest.raises(CheckpointRefusedError, match="its base model is no longer available") as refusal:
            publish(checkpoint, cast)
        assert refusal.value.obstacle == CheckpointState.NO_BASE
    with pytest.raises(BaseModelMissingError, match="base model tiny is no longer available") as excinfo:
        job_resume(job_id=job.id, actor="tests")
    assert "base model tiny" in refusal_text(excinfo.value)


def test_a_checkpoint_saved_while_others_are_listed_has_a_state(cast: Cast) -> None:
    source = ended_job(cast, 10)
    states = checkpoint_states(source)
    later = JobCheckpoint.objects.create(job=source, id="ftckpt-later", step=20, metrics={})
    assert states.of(later) == "publishable"


def test_only_checkpoints_that_workers_keep_and_engines_load_can_be_published(
    cast: Cast, settings: Any, django_assert_max_num_queries: Any
) -> None:
    source = ended_job(cast, 10, 20, 30, 40)
    rows = list(JobCheckpoint.objects.filter(job=source).order_by("step"))

    def states() -> list[str]:
        with django_assert_max_num_queries(2):
            job_states = checkpoint_states(source)
            return [job_states.of(row).value for row in rows]

    # The best one, and the last two.
    assert states() == ["publishable", "removed", "publishable", "publishable"]
    source.options = {"keep_checkpoints": 1}
    assert states() == ["publishable", "removed", "removed", "publishable"]
    source.status = JobStatus.RUNNING
    assert states() == ["not_ended", "removed", "removed", "not_ended"]
    source.options = {"adapter": "dora", "publish": False}
    assert set(states()) == {"not_servable"}
    source.options, source.status = {}, JobStatus.SUCCEEDED
    source.finished_at = timezone.now() - dt.timedelta(hours=settings.CYLLM.training_retention_h + 1)
    assert set(states()) == {"removed"}


def test_a_command_publishes_a_checkpoint_by_its_step(cast: Cast) -> None:
    source = ended_job(cast, 10, 20, 30, 40)
    output = io.StringIO()
    call_command("jobs", "publish", source.id, "30", stdout=output)
    job = FineTuningJob.objects.across_tenants().get(source_checkpoint__step=30)
    assert job.id in output.getvalue()
    with pytest.raises(CommandError, match="the training workers no longer have it"):
        call_command("jobs", "publish", source.id, "20")
    with pytest.raises(CommandError, match=r"no checkpoint of step 25\. It has: 40, 30, 20, 10"):
        call_command("jobs", "publish", source.id, "25")


def test_refused_publications_create_no_job(cast: Cast, settings: Any) -> None:
    source = ended_job(cast, 10, 20, 30, 40)
    rows = {row.step: row for row in JobCheckpoint.objects.filter(job=source)}
    with pytest.raises(CheckpointRefusedError) as excinfo:
        publish(rows[20], cast)
    assert excinfo.value.obstacle == CheckpointState.REMOVED
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_open_jobs": 0})
    with pytest.raises(CheckpointRefusedError) as excinfo:
        publish(rows[40], cast)
    assert excinfo.value.obstacle == TooManyJobs(0)
    for tenant, job_id in ((cast.globex, source.id), (cast.acme, "ftjob-other")):
        with pytest.raises(JobCheckpoint.DoesNotExist):
            checkpoint_publish(
                tenant_id=tenant.id, job_id=job_id, checkpoint_id=rows[40].id, actor="user:stranger"
            )
    assert FineTuningJob.objects.across_tenants().count() == 1
