"""Registration of a result under one of its job's two names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.exceptions import ValidationError

from inference_worker.registry.models import ServedModel
from inference_worker.registry.services import alias_set, model_register
from tests.tuned import save_adapter
from training.jobs.services import job_insert
from training.models import FineTuningJob
from training.publishing.adapter_check import AdapterSummary
from training.publishing.archives import StoredArchive, archive_store
from training.publishing.errors import PublishingError
from training.publishing.model_names import model_names
from training.publishing.publish import _register
from training.requests.job_request import JobRequest

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]
SUMMARY = AdapterSummary(rank=8, modules=("q_proj",))


@pytest.fixture
def archive(tiny_model: Path, tmp_path: Path) -> StoredArchive:
    return archive_store(save_adapter(tiny_model, tmp_path / "adapter", seed=1))


def new_job(cast: Cast, suffix: str = "") -> FineTuningJob:
    request = JobRequest(base_model="tiny", training_file="file-1", suffix=suffix)
    return job_insert(request, tenant=cast.acme, actor="tests")


def test_the_long_name_replaces_a_short_one_that_is_taken(cast: Cast, archive: StoredArchive) -> None:
    base = model_register(name="tiny", actor="tests")
    job = new_job(cast)
    short, long = model_names(job)
    alias_set(name=base.name, aliases=[short], actor="tests")
    assert _register(job, SUMMARY, archive) == long


def test_a_failure_says_that_both_names_are_taken(cast: Cast, archive: StoredArchive) -> None:
    base = model_register(name="tiny", actor="tests")
    job = new_job(cast)
    alias_set(name=base.name, aliases=model_names(job), actor="tests")
    with pytest.raises(PublishingError) as excinfo:
        _register(job, SUMMARY, archive)
    assert excinfo.value.failure.code == "model_name_taken"


def test_a_malformed_name_is_not_reported_as_taken(cast: Cast, archive: StoredArchive) -> None:
    model_register(name="tiny", actor="tests")
    with pytest.raises(ValidationError):
        _register(new_job(cast, suffix="a b"), SUMMARY, archive)
    assert ServedModel.objects.count() == 1


def test_a_base_model_that_was_removed_is_named(cast: Cast, archive: StoredArchive) -> None:
    with pytest.raises(PublishingError, match="base model tiny"):
        _register(new_job(cast), SUMMARY, archive)
