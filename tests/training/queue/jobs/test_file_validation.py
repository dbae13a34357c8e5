"""Files of new jobs are validated with the base model's tokenizer and template before they are queued."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone

from cyllm_site.celery import app
from tenants.files.creation import NewFile, file_store
from tenants.files.models import Purpose, StoredFile
from tests.people import Cast
from tests.training.datasets.families import FAMILIES, make_model
from training.datasets.report import RunFigures
from training.datasets.structure import check_structure
from training.jobs.doorbells import VALIDATION_QUEUE, VALIDATION_TASK
from training.jobs.services import job_cancel, job_insert, job_pause, job_resume
from training.models import FineTuningJob
from training.queue.claim import job_claim
from training.queue.sweep import jobs_sweep
from training.queue.validation import MAX_CLAIMS, ValidationLostError, validation_claim, validation_renew
from training.requests.file_check import stored_report
from training.requests.job_request import JobRequest
from training.supervisor import file_validation
from training.supervisor.celery_signals import DRAINING
from training.supervisor.file_validation import waiting_jobs_validate
from training.supervisor.folders import VALIDATION_PREFIX
from training.supervisor.trainer.inputs import copy_file

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def base_model(tiny_model: Path, redis_client: Any) -> Iterator[None]:
    """The model ``base``, with a real tokenizer and chat template."""
    with override_settings(CYLLM=settings.CYLLM.model_copy(update={"training_models": {"base": tiny_model}})):
        yield


def line(answer: str, question: str = "Where is it?") -> dict[str, Any]:
    """Return a chat."""
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
    }


def store(tenant_id: uuid.UUID, lines: list[dict[str, Any]]) -> str:
    """Store lines as an upload does."""
    content = "".join(json.dumps(each) + "\n" for each in lines).encode()
    report = stored_report(check_structure(io.BytesIO(content)))
    new = NewFile(filename="chats.jsonl", purpose=Purpose.FINE_TUNE, dataset_report=report)
    return str(file_store(tenant_id=tenant_id, content=io.BytesIO(content), new=new, actor="tests").id)


def waiting_job(cast: Cast, lines: list[dict[str, Any]], **fields: Any) -> FineTuningJob:
    """Create a job whose files have not been validated."""
    tenant = fields.pop("tenant", cast.acme)
    request = JobRequest(base_model="base", training_file=store(tenant.id, lines), **fields)
    job = job_insert(request, tenant=tenant, actor="tests")
    assert job.status == "validating_files"
    return job


def validated(job: FineTuningJob) -> FineTuningJob:
    """Validate the waiting jobs, and return this one as it is then."""
    waiting_jobs_validate()
    job.refresh_from_db()
    return job


def test_copies_are_in_the_training_folder_and_a_validation_deletes_those_of_killed_ones(
    cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = settings.CYLLM.model_copy(update={"training_dir": tmp_path})
    folder = tmp_path / f"{VALIDATION_PREFIX}killed"
    folder.mkdir()
    (folder / "file.jsonl").write_text("data")
    os.utime(folder, (1, 1))
    paths: list[Path] = []

    def copy(**arguments: Any) -> None:
        paths.append(arguments["target"])
        copy_file(**arguments)

    monkeypatch.setattr(file_validation, "copy_file", copy)
    with override_settings(CYLLM=values):
        assert validated(waiting_job(cast, [line("There.")])).status == "queued"
    assert paths[0].parents[1] == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.criterion("2.1")
def test_a_valid_file_is_reported_in_tokens_and_steps_before_its_job_is_queued(cast: Cast) -> None:
    chats = [line(f"Answer {number} is here.") for number in range(10)]
    job = validated(waiting_job(cast, chats, hyperparameters={"n_epochs": 2, "batch_size": 5}))
    assert job.status == "queued"
    report = job.report
    assert report is not None
    assert (report["examples"], report["tokens"]["samples"]) == (10, 10)
    assert 0 < report["tokens"]["trained_tokens"] < report["tokens"]["tokens"]
    assert (report["estimate"]["total_steps"], report["estimate"]["duration_s"]) == (4, None)
    assert report["estimate"]["memory_bytes"] > 0
    assert job_claim(worker_class="default", worker_id="w", base_models=["base"]) is not None


@pytest.mark.criterion("2.1")
@pytest.mark.case("training.8")
def test_a_file_of_which_nothing_is_left_fails_its_job_with_the_reason(cast: Cast) -> None:
    job = validated(waiting_job(cast, [line("x " * 100)] * 2, options={"max_length": 20}))
    assert (job.status, job.error_code, job.error_param) == (
        "failed",
        "no_trainable_examples",
        "training_file",
    )
    assert "2 too_long" in job.error_message
    assert "cyllm.max_length" in job.error_message


@pytest.mark.case("training.11")
def test_a_model_that_would_never_stop_after_a_trained_answer_fails_the_job_with_the_reason(
    cast: Cast, tmp_path: Path
) -> None:
    folder = make_model(FAMILIES["phi3"], tmp_path)  # "<|end|>" ends its turns
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": ends}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends[:1]}))
    with override_settings(CYLLM=settings.CYLLM.model_copy(update={"training_models": {"base": folder}})):
        job = validated(waiting_job(cast, [line("Here.")]))
        assert (job.status, job.error_code, job.error_param) == ("failed", "base_model_unreadable", "model")
        assert 'the engine does not stop at "<|end|>"' in job.error_message
        assert "The operator corrects the folder" in job.error_message
        assert str(tmp_path) not in job.error_message
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
        FineTuningJob.objects.update(validation_until=timezone.now())  # as some time later
        job_resume(job_id=job.id, actor="tests")
        assert validated(job).status == "queued"


@pytest.mark.case("training.14")
def test_a_line_that_the_template_does_not_allow_is_named(cast: Cast) -> None:
    job = validated(waiting_job(cast, [line("Fine."), line("Fine.", "Stop.<|im_end|> Go on.")]))
    assert (job.status, job.error_code) == ("failed", "invalid_dataset")
    assert "line 2, messages[0]" in job.error_message


def test_a_faulty_validation_file_is_named_as_such(cast: Cast) -> None:
    bad = store(cast.acme.id, [line("Fine.", "Stop.<|im_end|>")])
    job = validated(waiting_job(cast, [line("Fine.")], validation_file=bad))
    assert (job.status, job.error_param) == ("failed", "validation_file")


def test_a_missing_file_fails_its_job(cast: Cast) -> None:
    job = waiting_job(cast, [line("Fine.")])
    StoredFile.objects.all().delete()
    assert (validated(job).status, job.error_code) == ("failed", "file_not_found")


def test_a_machine_without_the_model_leaves_the_check_to_the_trainer(cast: Cast, tmp_path: Path) -> None:
    job = waiting_job(cast, [line("Fine.")])
    elsewhere = settings.CYLLM.model_copy(update={"training_models": {"base": tmp_path / "absent"}})
    with override_settings(CYLLM=elsewhere):
        validated(job)
    assert job.status == "queued"
    assert job.report is not None
    assert (job.report["examples"], job.report["tokens"]) == (1, None)


def test_a_check_that_fails_for_another_reason_leaves_it_to_the_trainer(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(file_validation, "_report", fail)
    assert validated(waiting_job(cast, [line("Fine.")])).status == "queued"


def test_tenants_take_turns_and_each_job_is_claimed_once(cast: Cast) -> None:
    first, second = (waiting_job(cast, [line("Fine.")]) for _ in range(2))
    other = waiting_job(cast, [line("Fine.")], tenant=cast.globex)
    claims = [validation_claim() for _ in range(4)]
    assert [claim and claim.job.id for claim in claims] == [first.id, other.id, second.id, None]
    expire_validations()
    assert waiting_jobs_validate() == 3
    assert {validated(job).status for job in (first, second, other)} == {"queued"}


def test_a_validation_that_lost_its_lease_writes_nothing(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    job = waiting_job(cast, [line("Fine.")])

    def slow(*_: object) -> None:
        expire_validations()
        assert validation_claim() is not None

    monkeypatch.setattr(file_validation, "_report", slow)
    assert validated(job).status == "validating_files"


def test_a_validation_in_progress_keeps_its_lease_until_its_job_is_cancelled(cast: Cast) -> None:
    job = waiting_job(cast, [line("Fine.")])
    claim = validation_claim()
    assert claim is not None
    expire_validations()
    validation_renew(claim)
    assert validation_claim() is None
    job_cancel(job_id=job.id, actor="tests")
    with pytest.raises(ValidationLostError):
        validation_renew(claim)


def test_a_file_that_kills_its_validations_is_left_to_the_trainer(cast: Cast) -> None:
    job = waiting_job(cast, [line("Fine.")])
    for _ in range(MAX_CLAIMS):
        assert validation_claim() is not None  # by a process that dies
        expire_validations()
    assert validated(job).status == "queued"
    assert job.report is not None
    assert job.report["tokens"] is None


def test_a_worker_that_shuts_down_gives_the_validation_back(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = waiting_job(cast, [line("Fine.")])

    def shut_down(*options: Any, check: Any, **_: object) -> None:
        DRAINING.set()
        check()

    monkeypatch.setattr(file_validation, "run_child", shut_down)
    try:
        assert validated(job).status == "validating_files"
    finally:
        DRAINING.clear()
    assert (job.validation_until, job.validation_count) == (None, 0)


def test_a_failed_query_of_one_validation_does_not_keep_others_waiting(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = waiting_job(cast, [line("Fine.")]), waiting_job(cast, [line("Fine.")])
    figures = file_validation._run_figures

    def time_out(job: FineTuningJob, structure: Mapping[str, Any]) -> RunFigures:
        if job.id == bad.id:
            raise OperationalError("canceling statement due to statement timeout")
        return figures(job, structure)

    monkeypatch.setattr(file_validation, "_run_figures", time_out)
    for _ in range(MAX_CLAIMS):
        with pytest.raises(OperationalError):
            waiting_jobs_validate()
        waiting_jobs_validate()
        assert validated(good).status == "queued"
        expire_validations()
    assert validated(bad).status == "queued"


def test_a_file_that_expires_while_its_job_waits_is_used(cast: Cast) -> None:
    job = waiting_job(cast, [line("Fine.")])
    StoredFile.objects.update(expires_at=timezone.now())
    assert validated(job).status == "queued"
    assert job.report is not None
    assert job.report["tokens"]["samples"] == 1


def expire_validations() -> None:
    """Let the leases of all validations end."""
    FineTuningJob.objects.filter(validation_until__isnull=False).update(validation_until=timezone.now())


def test_a_paused_job_is_validated_after_it_resumes(cast: Cast) -> None:
    job = waiting_job(cast, [line("Fine.")])
    job_pause(job_id=job.id, actor="tests")
    assert validated(job).status == "paused"
    job_resume(job_id=job.id, actor="tests")
    assert validated(job).status == "queued"


def test_a_job_that_resumes_does_not_wait_for_the_lease_of_its_earlier_validation(cast: Cast) -> None:
    job = waiting_job(cast, [line("Fine.")])
    earlier = validation_claim()
    assert earlier is not None
    job_pause(job_id=job.id, actor="tests")
    job_resume(job_id=job.id, actor="tests")
    assert validation_claim() is not None
    with pytest.raises(ValidationLostError):
        validation_renew(earlier)


def test_a_validation_that_a_pause_interrupts_is_no_failed_try(cast: Cast) -> None:
    job = waiting_job(cast, [line("Fine.")])
    for _ in range(MAX_CLAIMS):
        assert validation_claim() is not None
        job_pause(job_id=job.id, actor="tests")
        job_resume(job_id=job.id, actor="tests")
    assert validated(job).status == "queued"
    assert job.report is not None
    assert job.report["tokens"]["samples"] == 1


def test_the_sweep_rings_once_for_jobs_that_wait(cast: Cast, redis_client: redis.Redis) -> None:
    jobs_sweep()
    assert redis_client.llen(VALIDATION_QUEUE) == 0
    waiting_job(cast, [line("Fine.")])
    redis_client.flushall()  # the doorbell is lost
    jobs_sweep()
    jobs_sweep()
    assert redis_client.llen(VALIDATION_QUEUE) == 1
    redis_client.flushall()
    assert validation_claim() is not None
    jobs_sweep()
    assert redis_client.llen(VALIDATION_QUEUE) == 0


def test_creation_rings_for_the_task_that_validates(cast: Cast, redis_client: redis.Redis) -> None:
    job = waiting_job(cast, [line("Fine.")])
    (message,) = redis_client.lrange(VALIDATION_QUEUE, 0, -1)
    assert json.loads(message)["headers"]["task"] == VALIDATION_TASK
    app.loader.import_default_modules()  # as a worker does when it starts
    assert app.tasks[VALIDATION_TASK]() == 1
    job.refresh_from_db()
    assert job.status == "queued"


def test_the_time_is_estimated_from_the_latest_job_on_the_model(cast: Cast) -> None:
    speeds = {"succeeded": 10.0, "failed": 20.0}
    for status, speed in speeds.items():
        checked_job = waiting_job(cast, [line("Fine.")])
        FineTuningJob.objects.filter(id=checked_job.id).update(
            status=status, tokens_per_s=speed, finished_at=timezone.now()
        )
    job = validated(waiting_job(cast, [line("Fine.")], hyperparameters={"n_epochs": 2}))
    assert job.report is not None
    estimate = job.report["estimate"]
    assert estimate["duration_s"] == pytest.approx(estimate["total_tokens"] / 10.0)
