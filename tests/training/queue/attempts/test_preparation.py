"""Preparation of attempts: verified copies, hyperparameters in effect, folders."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from tenants.files.models import StoredFile
from tests.people import Cast
from tests.training.queue.claims.test_claim_order import claim, queued
from tests.training.queue.harness.disk import MOST_BYTES, full_disk
from tests.training.queue.harness.jobs import MakeJob, messages
from training.engine.control import now
from training.models import FineTuningJob, JobAttempt
from training.requests.hyperparameters import resolve
from training.supervisor.attempt import AttemptRun
from training.supervisor.folders import VALIDATION_PREFIX, FolderBusyError, job_folder
from training.supervisor.retention import expired_job_folders_remove
from training.supervisor.trainer.diagnosis import failure_of_exit
from training.supervisor.trainer.environment import trainer_environment
from training.supervisor.trainer.inputs import InputError, copy_file


@pytest.fixture(autouse=True)
def _folders(cast: Cast, redis_url: str, settings: Any, tmp_path: Path) -> None:
    """Job folders of this test, kept for an hour."""
    changes = {"training_dir": tmp_path / "training", "training_retention_h": 1.0}
    settings.CYLLM = settings.CYLLM.model_copy(update=changes)


def copy(job: FineTuningJob, target: Path) -> None:
    """Copy a job's training file."""
    tenant_id, file_id = job.tenant_id, job.training_file
    copy_file(tenant_id=tenant_id, file_id=file_id, param="training_file", target=target)


def test_files_are_copied_once_and_replaced_if_they_have_changed(make_job: MakeJob, tmp_path: Path) -> None:
    job, target = make_job({"steps": 5}), tmp_path / "copy"
    copy(job, target)
    assert target.read_text() == '{"steps": 5}'
    changed_at = target.stat().st_mtime_ns
    copy(job, target)
    assert target.stat().st_mtime_ns == changed_at
    target.write_text("half of a copy")
    copy(job, target)
    assert target.read_text() == '{"steps": 5}'
    assert list(tmp_path.glob("*.part")) == []


def test_a_file_that_expires_while_its_job_waits_is_copied(make_job: MakeJob, tmp_path: Path) -> None:
    job, target = make_job({"steps": 5}), tmp_path / "copy"
    StoredFile.objects.update(expires_at=timezone.now() - dt.timedelta(hours=1))
    copy(job, target)
    assert target.read_text() == '{"steps": 5}'


@pytest.mark.parametrize(("damage", "code"), [("change", "file_damaged"), ("delete", "file_unavailable")])
def test_a_damaged_file_is_never_trained_on(
    make_job: MakeJob, tmp_path: Path, damage: str, code: str
) -> None:
    job, target = make_job({"steps": 5}), tmp_path / "copy"
    name = StoredFile.objects.get(id=job.training_file).storage_name
    default_storage.delete(name)
    if damage == "change":
        default_storage.save(name, ContentFile(b'{"steps": 6}'))
    with pytest.raises(InputError) as excinfo:
        copy(job, target)
    assert excinfo.value.failure.code == code
    assert excinfo.value.failure.is_transient == (damage == "delete")
    assert not target.exists()


@pytest.mark.criterion("2.3")
def test_a_full_disk_of_the_worker_is_no_fault_of_the_file(make_job: MakeJob, tmp_path: Path) -> None:
    job, target = make_job({"steps": 5, "padding": "x" * 2 * MOST_BYTES}), tmp_path / "copy"
    with full_disk(), pytest.raises(InputError) as excinfo:
        copy(job, target)
    failure = excinfo.value.failure
    assert (failure.code, failure.is_transient) == ("disk_full", True)
    assert failure.next_step == "Free space on the training worker, then resume the job."
    assert not list(tmp_path.glob("copy*"))  # what was written takes no space any more
    copy(job, target)


@pytest.mark.criterion("2.3")
def test_a_work_folder_that_can_not_be_written_is_no_fault_of_the_file(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job({"steps": 5})
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as excinfo:
        copy(job, tmp_path / "file" / "copy")
    failure = excinfo.value.failure
    assert (failure.code, failure.is_transient) == ("checkpoint_unwritable", True)
    assert failure.message == "The work folder can't be written: Not a directory."


@pytest.mark.django_db(transaction=True)
@pytest.mark.criterion("2.3")
def test_an_attempt_without_a_folder_fails_with_the_cause(make_job: MakeJob, settings: Any) -> None:
    job = make_job({"steps": 5})
    settings.CYLLM.training_dir.mkdir()
    (settings.CYLLM.training_dir / job.id).touch()
    current_claim = claim()
    assert current_claim is not None
    AttemptRun(current_claim, claimed_at=now()).run()
    attempt = JobAttempt.objects.get()
    assert (attempt.outcome, attempt.error_code) == ("failed", "checkpoint_unwritable")
    assert "The work folder can't be written: File exists. The job is tried again." in messages(job)


def test_another_tenants_file_does_not_exist(make_job: MakeJob, cast: Cast, tmp_path: Path) -> None:
    job = make_job()
    job.tenant = cast.globex
    with pytest.raises(InputError) as excinfo:
        copy(job, tmp_path / "copy")
    assert excinfo.value.failure.code == "file_not_found"


@pytest.mark.parametrize(
    ("examples", "hyperparameters", "expected"),
    [
        (10, {}, (5, 1)),  # 50 steps
        (3, {}, (10, 1)),
        (1000, {"n_epochs": "auto", "batch_size": "auto"}, (3, 8)),
        (10, {"n_epochs": 1, "batch_size": 10}, (1, 10)),
    ],
)
def test_auto_becomes_a_number_that_suits_the_data(
    examples: int, hyperparameters: Any, expected: Any
) -> None:
    values = resolve(
        method="supervised", hyperparameters=hyperparameters, options={}, examples=examples, threads=1
    )
    assert (values.n_epochs, values.batch_size) == expected


@pytest.mark.parametrize(
    ("method", "hyperparameters", "options", "rate"),
    [
        ("supervised", {}, {}, 2e-4),
        ("supervised", {"learning_rate_multiplier": 2}, {}, 4e-4),
        ("supervised", {"learning_rate_multiplier": 0.5}, {"adapter": "full"}, 1e-5),
        ("supervised", {"learning_rate_multiplier": 2}, {"learning_rate": 1e-3}, 1e-3),
        ("dpo", {"beta": "auto"}, {"adapter": "dora"}, 5e-5),
    ],
)
def test_the_multiplier_scales_the_rate_of_the_method(
    method: str, hyperparameters: Any, options: Any, rate: float
) -> None:
    values = resolve(method=method, hyperparameters=hyperparameters, options=options, examples=10, threads=1)
    assert values.learning_rate == pytest.approx(rate)


def test_the_trainer_sees_no_secrets_of_the_platform() -> None:
    variables = {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "1",
        "CYLLM_SECRET_KEY": "canary",
        "CYLLM_DATABASE_URL": "canary",
        "AWS_SECRET_ACCESS_KEY": "canary",
        "PGPASSWORD": "canary",
    }
    environment = trainer_environment(2, variables)
    assert "canary" not in environment.values()
    assert (environment["PATH"], environment["CUDA_VISIBLE_DEVICES"]) == ("/bin", "1")
    assert (environment["OMP_NUM_THREADS"], environment["OMP_WAIT_POLICY"]) == ("2", "PASSIVE")


def test_old_folders_are_removed_unless_somebody_uses_them(cast: Cast) -> None:
    old, used_job, recent, running = (queued(cast.acme) for _ in range(4))
    folders = {job.id: job_folder(job.id) for job in (old, used_job, recent, running)}
    now = timezone.now()
    for job, hours in ((old, 2.0), (used_job, 2.0), (recent, 0.5)):
        FineTuningJob.objects.filter(id=job.id).update(finished_at=now - dt.timedelta(hours=hours))
    with folders[used_job.id].lock(0):
        assert expired_job_folders_remove() == 1
    assert [folder.path.exists() for folder in folders.values()] == [False, True, True, True]
    foreign_folder = folders[old.id].path.with_name("photos")  # of somebody who shares the disk
    foreign_folder.mkdir()
    os.utime(foreign_folder, (0, 0))
    killed_validation = foreign_folder.with_name(f"{VALIDATION_PREFIX}1")
    killed_validation.mkdir()
    os.utime(killed_validation, (0, 0))
    FineTuningJob.objects.get(id=recent.id).delete()
    assert expired_job_folders_remove() == 1  # the one that was used; the deleted job's folder is new
    assert foreign_folder.is_dir()
    assert not killed_validation.exists()


def test_two_attempts_never_share_a_folder(cast: Cast) -> None:
    folder = job_folder("ftjob-x")
    with folder.lock(0), pytest.raises(FolderBusyError), folder.lock(0):
        pass
    with folder.lock(0):
        pass


@pytest.mark.case("training.24")
@pytest.mark.parametrize(
    ("exit_code", "code", "is_transient"),
    [
        (-9, "out_of_memory", True),
        (137, "out_of_memory", True),
        (-11, "trainer_crashed", True),
        (1, "trainer_crashed", True),
        (0, "trainer_crashed", True),
        (127, "trainer_unavailable", False),
    ],
)
def test_an_exit_without_a_report_has_a_cause(exit_code: int, code: str, is_transient: bool) -> None:
    failure = failure_of_exit(exit_code)
    assert (failure.code, failure.is_transient) == (code, is_transient)
    assert failure.next_step
