"""The page of a training step shows the examples that it was trained on, to those who may read files."""

from __future__ import annotations

import io
import json
import re

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from api.console.job_data.step_samples import MAX_SHOWN
from tenants.files.creation import NewFile, file_store
from tenants.files.models import Purpose, StoredFile
from tenants.models import Membership
from tests.console.harness.jobs import job_with_steps, start_attempt, write_steps
from tests.people import Cast
from training.datasets.tokens.sample_lines import pack_lines
from training.datasets.tokens.step_samples import step_samples
from training.jobs.step_lines import step_lines
from training.models import FineTuningJob

pytestmark = pytest.mark.django_db
# Session, user, membership, tenants of the switcher.
FRAME = 4
TEXTS = {3: "<script>alert(1)</script>", 7: "\ud800", 9: "x" * 5000}


def _file(cast: Cast, count: int) -> StoredFile:
    """Return a file whose second line is blank; the example on line n says so."""
    lines = [_chat(TEXTS.get(line, f"answer {line}")) for line in range(1, count + 1) if line != 2]
    content = io.BytesIO("\n".join([lines[0], "", *lines[1:]]).encode())
    new = NewFile(filename="train.jsonl", purpose=Purpose.FINE_TUNE, dataset_report={"examples": count})
    return file_store(tenant_id=cast.acme.id, content=content, new=new, actor="tests")


def _chat(answer: str) -> str:
    turns = (("user", "提问"), ("assistant", answer))
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]})


def _job(cast: Cast, lines: list[int], batch_size: int, count: int = 12) -> FineTuningJob:
    """Return a job that has trained three steps on samples of these lines."""
    job = job_with_steps(cast.acme, 0, runs=False, training_file=_file(cast, count).id, seed=5)
    FineTuningJob.objects.filter(id=job.id).update(resolved={"batch_size": batch_size})
    job.refresh_from_db()
    start_attempt(job, 0, 30, sample_lines=pack_lines(lines))
    write_steps(job, 1, 3, total=30)
    return job


def _shown(page: str) -> dict[int, str]:
    figures = re.findall(r'<figure class="sample" data-line="(\d+)">(.*?)</figure>', page, re.DOTALL)
    return {int(line): html for line, html in figures}


def test_a_step_shows_the_lines_of_its_samples_with_their_text(
    cast: Cast, browser: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    lines = [1, *range(3, 13)]
    job = _job(cast, lines, batch_size=4)
    for step in (1, 4):  # the second one is of the next epoch
        samples = step_samples(seed=5, count=11, batch_size=4, step=step - 1)
        expected = sorted(lines[sample] for sample in samples)
        # Job, lines, file, metrics.
        with django_assert_num_queries(FRAME + 4):
            page = browser.get(f"/console/acme/jobs/{job.id}/steps/{step}/").content.decode()
        texts = _shown(page)
        assert list(texts) == expected
        for line in set(expected) - set(TEXTS):
            assert f"answer {line}&quot;" in texts[line]
            assert "提问" in texts[line]
    assert "steps/3/" in page
    assert "steps/5/" in page


def test_texts_are_escaped_cut_and_sent_whatever_they_contain(cast: Cast, browser: Client) -> None:
    job = _job(cast, [3, 7, 9], batch_size=3)
    page = browser.get(f"/console/acme/jobs/{job.id}/steps/2/")
    texts = _shown(page.content.decode())
    assert "&lt;script&gt;alert(1)" in texts[3]
    assert "<script>alert" not in page.content.decode()
    assert 1500 < texts[9].count("x") <= 2000
    assert "cut" in texts[9]
    assert set(texts) == {3, 7, 9}
    assert "Training loss" in page.content.decode()


def test_an_example_with_several_samples_in_a_step_is_shown_once(cast: Cast, browser: Client) -> None:
    job = _job(cast, [4, 4, 5], batch_size=3)
    texts = _shown(browser.get(f"/console/acme/jobs/{job.id}/steps/1/").content.decode())
    assert list(texts) == [4, 5]
    assert "2 samples of this example" in texts[4]
    assert step_lines(job, 1) == [4, 4, 5]


def test_a_large_step_lists_the_lines_behind_the_first(cast: Cast, browser: Client) -> None:
    job = _job(cast, list(range(3, 103)), batch_size=60, count=110)
    page = browser.get(f"/console/acme/jobs/{job.id}/steps/1/").content.decode()
    others = re.findall(r"\d+", page[page.index('id="other-lines"') :].split("</p>")[0].split(":")[1])
    assert len(_shown(page)) == MAX_SHOWN
    assert len(others) == 60 - MAX_SHOWN


def test_without_file_role_or_record_the_page_says_so(cast: Cast, browser: Client) -> None:
    job = _job(cast, [3, 4], batch_size=2)
    path = f"/console/acme/jobs/{job.id}/steps/1/"
    Membership.objects.filter(user=cast.member).update(role="viewer")
    page = browser.get(path).content.decode()
    assert "role doesn&#x27;t include reading files" in page
    assert list(_shown(page)) == [3, 4]
    assert "answer 4" not in page
    Membership.objects.filter(user=cast.member).update(role="member")
    assert "answer 4" in browser.get(path).content.decode()
    StoredFile.objects.filter(id=job.training_file).delete()
    page = browser.get(path).content.decode()
    assert "The training file was deleted" in page
    assert list(_shown(page)) == [3, 4]
    old = job_with_steps(cast.acme, 2)
    page = browser.get(f"/console/acme/jobs/{old.id}/steps/1/").content.decode()
    assert "are not known" in page


def test_a_file_that_the_storage_has_lost_leaves_the_lines(cast: Cast, browser: Client) -> None:
    job = _job(cast, [3, 4], batch_size=2)
    StoredFile.objects.filter(id=job.training_file).update(storage_name="files/none")
    page = browser.get(f"/console/acme/jobs/{job.id}/steps/1/").content.decode()
    assert "can&#x27;t be read from the storage" in page
    assert list(_shown(page)) == [3, 4]


def test_steps_that_a_job_does_not_have_and_foreign_jobs_are_not_found(cast: Cast, browser: Client) -> None:
    job = _job(cast, [3, 4], batch_size=2)
    foreign = job_with_steps(cast.globex, 2)
    assert browser.get(f"/console/acme/jobs/{job.id}/steps/30/").status_code == 200
    for path in (
        f"{job.id}/steps/0",
        f"{job.id}/steps/31",
        f"{job.id}/steps/{10**20}",
        f"{foreign.id}/steps/1",
    ):
        assert browser.get(f"/console/acme/jobs/{path}/").status_code == 404


def test_the_page_of_a_job_has_the_address_of_its_steps(cast: Cast, browser: Client) -> None:
    job = job_with_steps(cast.acme, 1)
    page = browser.get(f"/console/acme/jobs/{job.id}/").content.decode()
    assert f'data-step="/console/acme/jobs/{job.id}/steps/0/"' in page
