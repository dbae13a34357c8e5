"""Pages of jobs and files: bounded queries, filters, actions with their audit rows, and refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from api.console.job_data.job_form import request_body, values_of_job
from inference_worker.registry.services import model_register
from tenants.files.models import StoredFile
from tenants.keys.services import key_create
from tenants.models import AdminAudit, Membership
from tenants.services import tenant_update
from tests.console.harness.jobs import (
    MODEL,
    REPORT,
    checkpoint,
    evaluate,
    job_with_steps,
    running_token,
    write_steps,
)
from tests.people import Cast
from training.jobs.failures import Failure
from training.jobs.services import job_cancel, job_insert, job_pause
from training.jobs.state import job_queue
from training.models import FineTuningJob, JobAttempt, JobCheckpoint, JobEvent
from training.queue.endings import attempt_fail
from training.requests.job_request import JobRequest

pytestmark = pytest.mark.django_db
# Session, user, membership, tenants of the switcher.
FRAME = 4


def _bulk(cast: Cast, count: int) -> None:
    model = job_with_steps(cast.acme, 0, runs=False)
    FineTuningJob.objects.bulk_create(
        FineTuningJob(
            id=f"ftjob-bulk{number}",
            tenant=cast.acme,
            created_by="user:owner",
            base_model=MODEL,
            method="supervised",
            seed=1,
            training_file="file-x",
            status="queued" if number % 2 else "succeeded",
            queued_at=model.queued_at,
        )
        for number in range(count)
    )


def test_the_list_needs_the_same_queries_for_few_and_for_many_jobs(
    cast: Cast, browser: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _bulk(cast, 2)
    # Count, jobs, base models, owners, running jobs, queue.
    with django_assert_num_queries(FRAME + 6):
        browser.get("/console/acme/jobs/")
    _bulk(cast, 0)
    FineTuningJob.objects.filter(id__startswith="ftjob-bulk").delete()
    _bulk(cast, 300)
    with django_assert_num_queries(FRAME + 6):
        page = browser.get("/console/acme/jobs/")
    assert page.content.count(b"data-job=") == 50
    assert b"Page 1 of 7" in page.content


def test_the_page_of_a_job_needs_a_bounded_number_of_queries(
    cast: Cast, browser: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    job = job_with_steps(cast.acme, 50)
    for step in (10, 20, 30):
        evaluate(job, step, 2.0 - step / 100, is_best=True)
        checkpoint(job, step, 2.0 - step / 100, is_best=True)
    # Job, messages, checkpoints, their publications and states, attempts, their logs, files.
    with django_assert_num_queries(FRAME + 8):
        page = browser.get(f"/console/acme/jobs/{job.id}/")
    assert f'data-head="{job.next_event - 1}"' in page.content.decode()
    with django_assert_num_queries(FRAME - 1 + 2):
        series = browser.get(f"/console/acme/jobs/{job.id}/series/?s=0.5").json()
    assert series["train"]["step"] == list(range(1, 51))
    assert series["head"] == JobEvent.objects.filter(job=job, type="metrics").latest("number").number


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {"alpha", "beta", "gamma"}),
        ("?state=open", {"alpha"}),
        ("?state=ended", {"beta", "gamma"}),
        ("?state=cancelled", {"beta"}),
        ("?base=other", {"gamma"}),
        ("?owner=key:abc", {"gamma"}),
        ("?q=lph", {"alpha"}),
        ("?q=nothing", set()),
        ("?sort=nonsense", {"alpha", "beta", "gamma"}),
    ],
)
def test_filters_select_jobs(cast: Cast, browser: Client, query: str, names: set[str]) -> None:
    jobs = {
        name: job_with_steps(cast.acme, 0, runs=False, suffix=name) for name in ("alpha", "beta", "gamma")
    }
    job_with_steps(cast.globex, 0, runs=False, suffix="foreign")
    job_cancel(job_id=jobs["beta"].id, actor="tests")
    FineTuningJob.objects.filter(id=jobs["gamma"].id).update(
        status="succeeded", base_model="other", created_by="key:abc"
    )
    page = browser.get(f"/console/acme/jobs/{query}").content.decode()
    assert {name for name, job in jobs.items() if f'data-job="{job.id}"' in page} == names
    assert "foreign" not in page
    assert ("Clear the filters" in page) == (not names)


def test_jobs_of_keys_show_the_name_of_the_key_and_its_holder(
    cast: Cast, browser: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    person_key, _ = key_create(tenant=cast.acme, name="laptop", user=cast.owner, actor="tests")
    tenant_key, _ = key_create(tenant=cast.acme, name="nightly", actor="tests")
    foreign_key, _ = key_create(tenant=cast.globex, name="secret-name", actor="tests")
    names = {
        person_key.prefix: "owner, key “laptop”",
        tenant_key.prefix: "key “nightly”",
        foreign_key.prefix: f"key:{foreign_key.prefix}",
    }
    jobs = {prefix: job_with_steps(cast.acme, 0, runs=False) for prefix in names}
    for prefix, job in jobs.items():
        FineTuningJob.objects.filter(id=job.id).update(created_by=f"key:{prefix}")
    # Those of the list, and the keys of filter and rows.
    with django_assert_num_queries(FRAME + 6 + 2):
        page = browser.get("/console/acme/jobs/").content.decode()
    for prefix, name in names.items():
        assert f'<option value="key:{prefix}">{name}</option>' in page
        assert f"<td>{name}</td>" in page
        assert f"<dd>{name}</dd>" in browser.get(f"/console/acme/jobs/{jobs[prefix].id}/").content.decode()
    assert "secret-name" not in page
    filtered_page = browser.get(f"/console/acme/jobs/?owner=key:{tenant_key.prefix}").content.decode()
    assert f'<option value="key:{tenant_key.prefix}" selected>' in filtered_page
    assert f'data-job="{jobs[person_key.prefix].id}"' not in filtered_page


def test_the_lowest_validation_loss_is_shown_and_sorted(cast: Cast, browser: Client) -> None:
    jobs = [job_with_steps(cast.acme, 2, suffix=f"job{number}") for number in range(3)]
    evaluate(jobs[1], 1, 1.25)
    evaluate(jobs[1], 2, float("nan"))
    evaluate(jobs[2], 1, 0.75)
    page = browser.get("/console/acme/jobs/?sort=best").content.decode()
    table = page[page.index("<tbody>") :]
    order = sorted(jobs, key=lambda job: table.index(f'data-job="{job.id}"'))
    assert [job.suffix for job in order] == ["job2", "job1", "job0"]
    assert "0.75" in table
    assert "1.25" in table


def test_queued_jobs_show_their_place_and_its_reason(cast: Cast, browser: Client) -> None:
    first, second = (job_with_steps(cast.acme, 0, runs=False, suffix=name) for name in ("a", "b"))
    assert "Next in the queue" in browser.get(f"/console/acme/jobs/{first.id}/").content.decode()
    assert "Place 2 in the queue" in browser.get(f"/console/acme/jobs/{second.id}/").content.decode()


def test_a_paused_job_that_never_ran_starts_when_it_is_resumed(cast: Cast, browser: Client) -> None:
    job = job_pause(job_id=job_with_steps(cast.acme, 0, runs=False).id, actor="tests")
    assert "It starts once you resume it." in browser.get(f"/console/acme/jobs/{job.id}/").content.decode()


def test_several_jobs_are_cancelled_at_once_and_ended_ones_reported(cast: Cast, browser: Client) -> None:
    jobs = [job_with_steps(cast.acme, 0, runs=False) for _ in range(3)]
    foreign = job_with_steps(cast.globex, 0, runs=False)
    job_cancel(job_id=jobs[2].id, actor="tests")
    ids = [job.id for job in (*jobs, foreign)]
    page = browser.post("/console/acme/jobs/?state=open", {"job": ids}, follow=True)
    assert page.redirect_chain[0][0] == "/console/acme/jobs/?state=open"
    assert "2 jobs are cancelled." in page.content.decode()
    ended_job = jobs[2]
    ended_job.refresh_from_db()
    refusal = f"The job {ended_job.id} can&#x27;t be paused. Its state: {ended_job.get_status_display()}."
    page = browser.post(f"/console/acme/jobs/{ended_job.id}/pause/", follow=True)
    assert refusal in page.content.decode()
    foreign.refresh_from_db()
    assert foreign.status == "queued"
    rows = AdminAudit.objects.filter(action="job.cancel", actor="user:member")
    assert set(rows.values_list("object_id", flat=True)) == {jobs[0].id, jobs[1].id}


def test_a_failed_job_shows_cause_and_next_step_and_can_be_resumed_if_the_cause_can_pass(
    cast: Cast, browser: Client
) -> None:
    StoredFile.objects.create(
        id="file-train",
        tenant=cast.acme,
        filename="a.jsonl",
        purpose="fine-tune",
        size_bytes=1,
        storage_name="x",
    )
    job = job_with_steps(cast.acme, 5)
    attempt_fail(
        running_token(job),
        Failure(code="disk_full", message="The disk is full.", next_step="Free some space."),
    )
    page = browser.get(f"/console/acme/jobs/{job.id}/").content.decode()
    assert "disk_full" in page
    assert "Free some space." in page
    assert 'id="do-resume"' in page
    answer = browser.post(f"/console/acme/jobs/{job.id}/resume/", follow=True)
    assert "The job is being resumed." in answer.content.decode()
    job.refresh_from_db()
    assert job.status == "queued"
    assert browser.post(f"/console/acme/jobs/{job.id}/explode/").status_code == 404


def test_members_see_the_last_lines_of_the_trainer(cast: Cast, browser: Client) -> None:
    job = job_with_steps(cast.acme, 5)
    path = f"/console/acme/jobs/{job.id}/"
    assert "Last lines of the trainer" not in browser.get(path).content.decode()
    JobAttempt.objects.filter(job=job).update(log="loading <model>\ntraining")
    for html in (
        browser.get(path).content.decode(),
        browser.get(f"{path}?part=live").json()["parts"]["logs"],
    ):
        assert "Last lines of the trainer, attempt 1" in html
        assert "loading &lt;model&gt;\ntraining" in html
    Membership.objects.filter(user=cast.member).update(role="viewer")
    page = browser.get(path).content.decode()
    assert "Fine-tuning job started" in page
    assert "loading" not in page


def test_a_page_lists_the_latest_checkpoints_and_the_best_one_and_all_on_request(
    cast: Cast, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_with_steps(cast.acme, 60)
    for step in range(1, 61):
        checkpoint(job, step, 2.0, is_best=step == 3)

    ids = {row.id: row.step for row in JobCheckpoint.objects.filter(job=job)}

    def steps(query: str = "") -> list[int]:
        html = browser.get(f"/console/acme/jobs/{job.id}/{query}").content.decode()
        return [ids[name] for name in re.findall(r'<td class="mono">(ftckpt[^<]+)</td>', html)]

    assert steps() == [*range(60, 10, -1), 3]
    assert steps("?checkpoints=all") == list(range(60, 0, -1))
    compared_steps = browser.get(f"/console/acme/compare/?jobs={job.id}").context["checkpoints"][0][1]
    assert [row.step for row in compared_steps] == steps()
    monkeypatch.setattr("api.console.pages.jobs.job.MAX_ALL_CHECKPOINTS", 55)
    assert steps("?checkpoints=all") == [*range(60, 5, -1), 3]
    page = browser.get(f"/console/acme/jobs/{job.id}/?checkpoints=all").content.decode()
    assert "These are the latest of 60 checkpoints and the best one" in page


def test_a_viewer_sees_a_job_without_its_actions(cast: Cast, browser: Client) -> None:
    job = job_with_steps(cast.acme, 5)
    Membership.objects.filter(user=cast.member).update(role="viewer")
    page = browser.get(f"/console/acme/jobs/{job.id}/").content.decode()
    assert "do-pause" not in page
    assert browser.post(f"/console/acme/jobs/{job.id}/cancel/").status_code == 403
    assert browser.get("/console/acme/jobs/new/").status_code == 403


def test_progress_stays_below_100_until_the_job_has_succeeded(cast: Cast, browser: Client) -> None:
    job = job_with_steps(cast.acme, 100, total=100)
    assert 'value="99"' in browser.get(f"/console/acme/jobs/{job.id}/").content.decode()
    FineTuningJob.objects.filter(id=job.id).update(status="succeeded")
    assert 'value="100"' in browser.get(f"/console/acme/jobs/{job.id}/").content.decode()


def test_the_live_part_has_the_job_as_it_is_now(cast: Cast, browser: Client) -> None:
    job = job_with_steps(cast.acme, 5)
    before = browser.get(f"/console/acme/jobs/{job.id}/?part=live").json()
    assert before["status"] == "running"
    checkpoint(job, 5, 1.5, is_best=True)
    job_cancel(job_id=job.id, actor="tests")
    after = browser.get(f"/console/acme/jobs/{job.id}/?part=live").json()
    assert "It ends within a step." in after["parts"]["header"]
    assert "1.5" in after["parts"]["checkpoints"]


def test_the_live_part_has_the_report_and_the_settings_in_effect_once_the_files_are_checked(
    cast: Cast, browser: Client
) -> None:
    request = JobRequest(base_model=MODEL, training_file="file-train", seed=1)
    job = job_insert(request, tenant=cast.acme, actor="user:owner")
    path = f"/console/acme/jobs/{job.id}/"
    html = browser.get(path).content.decode()
    assert 'id="part-report"' in html
    assert 'id="part-config"' in html
    assert "The report appears" in browser.get(f"{path}?part=live").json()["parts"]["report"]
    job_queue(job_id=job.id, report=REPORT)
    FineTuningJob.objects.filter(id=job.id).update(resolved={"n_epochs": 9})
    parts = browser.get(f"{path}?part=live").json()["parts"]
    assert f'data-fact="examples">{REPORT["examples"]}<' in parts["report"]
    assert '<th scope="row" class="mono">n_epochs</th><td class="mono">9</td>' in parts["config"]


def test_a_body_that_can_not_be_right_comes_back_with_what_was_typed(
    cast: Cast, browser: Client, settings: Any
) -> None:
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_models": {MODEL: Path("/none")}})
    model_register(name=MODEL, actor="tests", source=MODEL)
    values = {"training_file": "file-none", "model": MODEL, "rank": "many", "suffix": "kept"}
    page = browser.post("/console/acme/jobs/new/", values)
    assert page.status_code == 422
    text = page.content.decode()
    assert 'value="many"' in text
    assert 'value="kept"' in text
    assert 'id="rank-error"' in text
    review = browser.post("/console/acme/jobs/new/review/", values).content.decode()
    assert 'data-error="rank"><strong>Rank</strong> (<code>rank</code>): ' in review
    del values["training_file"]
    review = browser.post("/console/acme/jobs/new/review/", values).content.decode()
    assert "<strong>Training file</strong> (<code>training_file</code>): Choose one." in review
    assert FineTuningJob.objects.count() == 0


def test_a_foreign_job_can_be_neither_seen_nor_cloned_nor_compared(cast: Cast, browser: Client) -> None:
    foreign = job_with_steps(cast.globex, 1, suffix="secret-name")
    assert browser.get(f"/console/acme/jobs/{foreign.id}/").status_code == 404
    assert browser.get(f"/console/acme/jobs/{foreign.id}/series/").status_code == 404
    assert browser.post(f"/console/acme/jobs/{foreign.id}/cancel/").status_code == 404
    assert browser.get(f"/console/acme/jobs/new/?from={foreign.id}").status_code == 404
    page = browser.get(f"/console/acme/compare/?jobs={foreign.id}").content.decode()
    assert "secret-name" not in page


def test_a_clone_is_published_only_if_its_job_was(cast: Cast, browser: Client) -> None:
    job = job_with_steps(cast.acme, 0, runs=False, options={"publish": False})
    page = browser.get(f"/console/acme/jobs/new/?from={job.id}").content.decode()
    assert "<option selected>no</option>" in page
    assert request_body(values_of_job(job))["cyllm"]["publish"] is False


def test_new_rows_are_counted_for_the_pill(cast: Cast, browser: Client) -> None:
    job = job_with_steps(cast.acme, 10)
    query = f"?part=rows&ids={job.id},ftjob-none&since={job.created_at.isoformat()}"
    assert browser.get(f"/console/acme/jobs/{query}").json()["new"] == 0
    write_steps(job, 11, 20)
    job_with_steps(cast.acme, 0, runs=False)
    data = json.loads(browser.get(f"/console/acme/jobs/{query.replace('+', '%2B')}").content)
    assert data["new"] == 1
    assert "step 20 of 200" in data["rows"][job.id]
    for since in ("2026-99-99T00:00:00Z", "2020-01-01T00:00:00", "yesterday"):
        assert browser.get(f"/console/acme/jobs/?part=rows&since={since}").json()["new"] == 0


def test_the_form_offers_the_models_that_the_tenant_may_use_and_accepts_no_other(
    cast: Cast, browser: Client, settings: Any
) -> None:
    folders = dict.fromkeys((MODEL, "of-globex"), Path("/none"))
    settings.CYLLM = settings.CYLLM.model_copy(update={"training_models": folders})
    for name in folders:
        model_register(name=name, actor="tests", source=name)
    model_register(name="of-globex", actor="tests", visibility="restricted")
    page = browser.get("/console/acme/jobs/new/").content.decode()
    assert f"<option>{MODEL}</option>" in page
    assert "of-globex" not in page
    refusal = browser.post("/console/acme/jobs/new/", {"training_file": "file-none", "model": "of-globex"})
    assert "Choose one from the list." in refusal.content.decode()
    tenant_update(tenant_id=cast.acme.pk, actor="tests", allowed_models=["of-globex"])
    refusal = browser.post("/console/acme/jobs/new/", {"training_file": "file-none", "model": MODEL})
    assert "Choose one from the list." in refusal.content.decode(), "the limit of models applies here too"
    tenant_update(tenant_id=cast.acme.pk, actor="tests", allowed_models=[MODEL])
    assert f"<option>{MODEL}</option>" in browser.get("/console/acme/jobs/new/").content.decode()


def test_a_result_shows_quality_against_the_base_and_the_agreement_of_engine_and_trainer(
    cast: Cast, browser: Client
) -> None:
    model_register(name="ft:base:acme:x/1", actor="tests")
    job = job_with_steps(cast.acme, 5)
    quality = {"step": 5, "perplexity": 2.0, "token_accuracy": 0.5, "is_best": True}
    FineTuningJob.objects.filter(id=job.id).update(
        status="succeeded",
        fine_tuned_model="ft:base:acme:x/1",
        result={
            "evaluated_on": "validation",
            "base": {**quality, "loss": 3.25},
            "result": {**quality, "loss": 1.125},
            "result_files": ["file-metrics"],
            "verification": {
                "tokens": 640,
                "adapter": {"largest": 2.5e-5, "mean": 3e-6},
                "tolerance": {"largest": 1e-3, "mean": 1e-4},
            },
        },
    )
    page = browser.get(f"/console/acme/jobs/{job.id}/?tab=result").content.decode()
    assert "agree on 640 tokens: largest difference 2.5e-5" in page
    table = page[page.index('id="quality"') :]
    assert table.index("3.25") < table.index("1.125")
    assert f"/console/acme/playground/?a={MODEL}&amp;b=ft%3Abase%3Aacme%3Ax%2F1" in page
    assert 'ft:base:acme:x/1</span> <span class="muted">(deleted)' not in page
