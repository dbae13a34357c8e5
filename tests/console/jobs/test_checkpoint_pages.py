"""The checkpoints on the page of a job: what each can be used for, and its publication by a click."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from inference_worker.registry.services import model_register, model_remove
from tenants.models import Membership
from tests.console.harness.jobs import MODEL, checkpoint, job_with_steps
from tests.people import Cast
from training.models import FineTuningJob, JobCheckpoint

pytestmark = pytest.mark.django_db
MODEL_NAME = "ft:base:acme::x"


def _trained(cast: Cast, **values: Any) -> FineTuningJob:
    """Return a job whose best checkpoint is that of step 10 and whose result is that of step 40."""
    model_register(name=MODEL, actor="tests")
    job = job_with_steps(cast.acme, 40, total=40)
    for step in (10, 20, 30, 40):
        checkpoint(job, step, 1.0 + step / 100, is_best=step == 10)
    end_columns = {"status": "succeeded", "finished_at": timezone.now(), "fine_tuned_model": MODEL_NAME}
    end_columns["result"] = {"result": {"step": 40, "loss": 1.4}}
    FineTuningJob.objects.filter(id=job.id).update(**end_columns | values)
    job.refresh_from_db()
    return job


def _rows(browser: Client, job: FineTuningJob) -> dict[int, str]:
    """Return the rows of the checkpoints by their steps."""
    page = browser.get(f"/console/acme/jobs/{job.id}/").content.decode()
    part = page[page.index('id="part-checkpoints"') :].split("</table>")[0]
    rows = re.findall(r"<tr><th[^>]*>(\d+)(.*?)</tr>", part, re.DOTALL)
    return {int(step): html for step, html in rows}


def _id(job: FineTuningJob, step: int) -> str:
    return JobCheckpoint.objects.get(job=job, step=step).id


def test_each_checkpoint_says_what_it_can_be_used_for(cast: Cast, browser: Client) -> None:
    model_register(name=MODEL_NAME, actor="tests")
    job = _trained(cast)
    rows = _rows(browser, job)
    assert list(rows) == [40, 30, 20, 10]
    assert f"/console/acme/playground/?a={MODEL}&amp;b=ft%3Abase%3Aacme%3A%3Ax" in rows[40]
    assert "published" in rows[40]
    assert 'id="publish-30"' in rows[30]
    assert "no longer have it" in rows[20]
    assert "best" in rows[10]
    assert 'id="publish-10"' in rows[10]
    # The model was deleted: its weights can be published again.
    FineTuningJob.objects.filter(id=job.id).update(fine_tuned_model="ft:deleted")
    assert 'id="publish-40"' in _rows(browser, job)[40]


def test_a_click_publishes_a_checkpoint_by_a_job_that_names_its_source(cast: Cast, browser: Client) -> None:
    job = _trained(cast)
    address = f"/console/acme/jobs/{job.id}/checkpoints/{_id(job, 30)}/publish/"
    answer = browser.post(address, follow=True)
    publication = FineTuningJob.objects.across_tenants().get(source_checkpoint=_id(job, 30))
    page = answer.content.decode()
    assert answer.redirect_chain[0][0] == f"/console/acme/jobs/{publication.id}/"
    assert "A job publishes the checkpoint" in page
    assert f'href="/console/acme/jobs/{job.id}/?tab=checkpoints">the checkpoint of step 30' in page
    assert "trains nothing" in page
    assert f'/jobs/{publication.id}/">is being published' in _rows(browser, job)[30]
    assert "publishes the checkpoint of step 30" in browser.get("/console/acme/jobs/").content.decode()
    assert publication.created_by == "user:member"
    FineTuningJob.objects.filter(id=publication.id).update(status="failed")
    row = _rows(browser, job)[30]
    assert "The last publication failed" in row
    assert 'id="publish-30"' in row
    model_register(name="ft:base:acme::x:ckpt-step-30", actor="tests")
    agreement = {"largest": 2e-5, "mean": 3e-6}
    verification = {"tokens": 640, "adapter": agreement, "tolerance": {"largest": 1e-3, "mean": 1e-4}}
    FineTuningJob.objects.filter(id=publication.id).update(
        status="succeeded",
        fine_tuned_model="ft:base:acme::x:ckpt-step-30",
        result={"result_files": [], "step": 30, "reason": "checkpoint", "verification": verification},
    )
    page = browser.get(f"/console/acme/jobs/{publication.id}/").content.decode()
    assert "agree on 640 tokens" in page
    assert 'id="quality"' not in page
    assert browser.get(f"/console/acme/jobs/{publication.id}/receipt/").status_code == 200
    assert "ckpt-step-30" in _rows(browser, job)[30]
    assert 'id="try-30"' in _rows(browser, job)[30]
    answer = browser.post(address, follow=True)  # from an old page
    assert answer.redirect_chain[0][0] == f"/console/acme/jobs/{publication.id}/"
    assert "A job publishes the checkpoint" not in answer.content.decode()


def test_refusals_are_explained_and_change_nothing(cast: Cast, browser: Client, settings: Any) -> None:
    job = _trained(cast)
    answer = browser.post(f"/console/acme/jobs/{job.id}/checkpoints/{_id(job, 20)}/publish/", follow=True)
    assert "was not published. The training workers no longer have it." in answer.content.decode()
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_open_jobs": 0})
    answer = browser.post(f"/console/acme/jobs/{job.id}/checkpoints/{_id(job, 30)}/publish/", follow=True)
    assert "limit of 0 unfinished jobs is reached" in answer.content.decode()
    FineTuningJob.objects.filter(id=job.id).update(status="running", finished_at=None)
    assert "when the job has ended" in _rows(browser, job)[30]
    FineTuningJob.objects.filter(id=job.id).update(status="succeeded", options={"adapter": "dora"})
    assert "Only adapters of the kind “lora”" in _rows(browser, job)[30]
    FineTuningJob.objects.filter(id=job.id).update(options={})
    model_remove(name=MODEL, actor="tests")
    assert "base model is no longer available" in _rows(browser, job)[30]
    assert FineTuningJob.objects.across_tenants().count() == 1


def test_viewers_and_strangers_publish_nothing(cast: Cast, browser: Client) -> None:
    job = _trained(cast)
    address = f"/console/acme/jobs/{job.id}/checkpoints/{_id(job, 30)}/publish/"
    assert browser.get(address).status_code == 405
    stranger = Client()
    stranger.force_login(cast.stranger)
    assert stranger.post(address).status_code == 404
    assert stranger.post(address.replace("/acme/", "/globex/")).status_code == 404
    assert browser.post(address.replace(_id(job, 30), "ftckpt_none")).status_code == 404
    Membership.objects.filter(user=cast.member).update(role="viewer")
    assert browser.post(address).status_code == 403
    row = _rows(browser, job)[30]
    assert "can be published" in row
    assert "<button" not in row
    assert FineTuningJob.objects.across_tenants().count() == 1


def test_a_deleted_model_is_called_that_and_not_offered_in_the_playground(
    cast: Cast, browser: Client
) -> None:
    job = job_with_steps(cast.acme, 5)
    FineTuningJob.objects.filter(id=job.id).update(
        status="succeeded", fine_tuned_model="ft:base:acme:x/1", result={"result": {"step": 5, "loss": 1.5}}
    )
    for address in (f"/console/acme/jobs/{job.id}/", f"/console/acme/jobs/{job.id}/receipt/"):
        page = browser.get(address).content.decode()
        assert '<span class="mono">ft:base:acme:x/1</span> <span class="muted">(deleted)</span>' in page
        assert "playground/?a=" not in page
