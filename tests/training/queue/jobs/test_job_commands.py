"""``manage.py jobs``."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from inference_worker.protocol import codec, names
from tenants.files.models import StoredFile
from tests.heartbeats import ready_heartbeat
from tests.people import Cast
from tests.training.queue.claims.test_claim_order import claim, queued
from training.jobs.services import job_cancel
from training.models import FineTuningJob, JobCheckpoint

EXAMPLE = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


@pytest.fixture(autouse=True)
def _servers(cast: Cast, redis_url: str) -> None:
    """Tenants and a broker."""


def run(*arguments: str) -> str:
    """Run the command and return its output."""
    out = io.StringIO()
    call_command("jobs", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.fixture
def models(settings: Any, tiny_model: Path) -> None:
    """A model that can be fine-tuned."""
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_models": {"tiny": tiny_model}})


@pytest.fixture
def engine(redis_client: Any) -> None:
    """A ready inference worker of the model, which loads adapters of rank 16 at most."""
    redis_client.set(names.worker_key("gpu-1"), codec.encode(ready_heartbeat("tiny")), ex=60)
    redis_client.zadd(names.WORKER_INDEX, {"gpu-1": 1.0})


def test_jobs_are_listed_by_tenant_and_status(cast: Cast) -> None:
    mine, other = queued(cast.acme), queued(cast.globex)
    assert [row["id"] for row in json.loads(run("list", "--json"))] == [other.id, mine.id]
    table = run("list", "--tenant", "acme").splitlines()
    assert table[0].split()[:3] == ["ID", "TENANT", "STATUS"]
    assert table[1].split()[:3] == [mine.id, "acme", "queued"]
    assert len(table) == 2
    assert run("list", "--status", "failed") == "Nothing found.\n"


def test_a_job_is_shown_with_attempts_and_checkpoints(cast: Cast) -> None:
    job = queued(cast.acme, hyperparameters={"n_epochs": 3})
    assert claim() is not None
    JobCheckpoint.objects.create(id="ftckpt_1", job=job, step=5, folder="step-5")
    document = json.loads(run("show", job.id, "--json"))
    assert (document["status"], document["hyperparameters"]) == ("running", {"n_epochs": 3})
    assert [attempt["outcome"] for attempt in document["attempts"]] == ["running"]
    assert [checkpoint["step"] for checkpoint in document["checkpoints"]] == [5]
    text = run("show", job.id)
    assert "ftckpt_1" in text
    assert '{"n_epochs": 3}' in text


def test_a_job_is_created_from_a_file_on_this_machine(cast: Cast, models: None, tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps(EXAMPLE) for _ in range(10)))
    row = json.loads(
        run(
            *("create", "--tenant", "acme", "--model", "tiny", "--training-file", str(path), "--json"),
            *(
                "--epochs",
                "2",
                "--option",
                "rank=4",
                "--option",
                "adapter=dora",
                "--option",
                "publish=false",
                "--priority",
                "7",
            ),
        )
    )
    job = FineTuningJob.objects.get(id=row["id"])
    assert (job.tenant, job.priority, job.hyperparameters["n_epochs"]) == (cast.acme, 7, 2)
    assert (job.options["rank"], job.options["adapter"]) == (4, "dora")
    assert job.created_by.startswith("cli:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "none"), "--model: the model 'none' can't be fine-tuned: use one of 'tiny'."),
        (("--epochs", "51"), "--epochs: it must be a number between 1 and 50, or 'auto'."),
        (("--batch-size", "99999999999"), "--batch-size: it must be a number between 1 and 256, or 'auto'."),
        (("--learning-rate-multiplier", "1e-320"), "--learning-rate-multiplier: it must be a number between"),
        (("--training-file", "x" * 5000), "--training-file: the tenant has no file 'xxx"),
        (("--option", "rank=" + "[" * 100_000), "--option rank: Expected `int`, got `str`."),
        (("--training-file", "file-none"), "--training-file: the tenant has no file 'file-none'."),
        (("--validation-file", "file-none"), "--validation-file: the tenant has no file"),
        (("--option", "rank=x"), "--option rank: Expected `int`, got `str`."),
        (("--option", "ranks=1"), "--option ranks: there is no such option; the options are adapter, "),
        (("--option", "adapter=dora"), "--option adapter: 'dora' is not supported"),
        (("--option", "eval_steps=5"), "--option eval_steps: it requires a 'validation_file'."),
        (("--option", 'early_stopping={"patience": 1}'), "--option early_stopping: it requires"),
        (("--option", "target_modules=all-linear"), "--option target_modules: Expected `array`, got `str`."),
        (
            ("--option", 'early_stopping={"patience": "x"}'),
            "--option early_stopping.patience: Expected `int`",
        ),
        (("--option", 'target_modules=["wte"]'), "--option target_modules: 'wte' is not supported"),
        (("--option", "learning_rate=-1"), "--option learning_rate: Expected `float` >= 1e-10"),
        (
            ("--option", "rank=17"),
            "--option rank: the inference workers of the model load adapters",
        ),
        (("--suffix", "a:b"), "--suffix: it becomes part of the model's name"),
        (("--suffix", "x" * 65), "at most 64"),
        (("--seed", "-1"), "--seed: it must be between 0 and 2147483647."),
        (("--learning-rate-multiplier", "nan"), "more than 0"),
        (("--option", "rank"), "NAME=VALUE"),
        (("--epochs", "0"), "more than 0"),
        (("--tenant", "acm"), "Did you mean acme?"),
    ],
)
@pytest.mark.usefixtures("models", "engine")
def test_a_bad_request_names_its_fault(tmp_path: Path, arguments: Any, message: str) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps(EXAMPLE))
    good = ("--tenant", "acme", "--model", "tiny", "--training-file", str(path))
    with pytest.raises(CommandError) as excinfo:
        run("create", *good, *arguments)
    assert message in str(excinfo.value)
    assert not FineTuningJob.objects.exists()
    assert not StoredFile.objects.exists(), "files stored for a job that was refused are deleted"


@pytest.mark.usefixtures("models")
def test_the_command_keeps_to_the_limits_of_the_tenant(settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps(EXAMPLE))
    arguments = ("create", "--tenant", "acme", "--model", "tiny", "--training-file", str(path))
    usual = settings.CYLLM
    settings.CYLLM = usual.model_copy(update={"training_open_jobs": 1})
    run(*arguments)
    with pytest.raises(CommandError, match="already has 1 fine-tuning jobs that have not ended"):
        run(*arguments)
    for limit, message in (
        ("max_file_bytes", "exceeds 10 bytes"),
        ("tenant_file_bytes", "would exceed the limit of 10 bytes"),
    ):
        settings.CYLLM = usual.model_copy(update={limit: 10})
        with pytest.raises(CommandError, match=message):
            run(*arguments)


def test_modules_are_checked_as_soon_as_the_models_folder_is_mounted(
    settings: Any, tiny_model: Path, tmp_path: Path
) -> None:
    path, folder = tmp_path / "chats.jsonl", tmp_path / "base"
    path.write_text(json.dumps(EXAMPLE))
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_models": {"base": folder}})
    arguments = ("create", "--tenant", "acme", "--model", "base", "--training-file", str(path))
    unknown = ("--option", 'target_modules=["none"]')
    run(*arguments, *unknown)
    folder.symlink_to(tiny_model)
    with pytest.raises(CommandError, match="no linear module 'none'"):
        run(*arguments, *unknown)


def test_jobs_are_paused_resumed_and_cancelled(cast: Cast) -> None:
    job = queued(cast.acme)
    assert run("pause", job.id) == f"Job {job.id} is paused.\n"
    assert run("resume", job.id) == f"Job {job.id} is queued.\n"
    assert claim() is not None
    assert run("cancel", job.id) == f"Job {job.id} is running; requested: cancel.\n"
    with pytest.raises(CommandError, match=r"can't be paused: its status is running \(being cancelled\)"):
        run("pause", job.id)
    with pytest.raises(CommandError, match="No such job: ftjob-x"):
        run("show", "ftjob-x")


@pytest.mark.django_db(transaction=True)
def test_events_are_followed_to_the_end(cast: Cast) -> None:
    job = queued(cast.acme)
    assert "Files validated" in run("events", job.id)

    def cancel() -> None:
        job_cancel(job_id=job.id, actor="tests")
        connection.close()

    canceller = threading.Timer(1.0, cancel)
    canceller.start()
    lines = [json.loads(line) for line in run("events", job.id, "--follow", "--json").splitlines()]
    canceller.join()
    assert [line["number"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["message"] == "Fine-tuning job cancelled"
