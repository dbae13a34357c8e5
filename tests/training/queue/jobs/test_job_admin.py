"""Admin pages of jobs: each tenant's managers see and control their own."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import translation

from tenants.models import AdminAudit
from tests.people import PASSWORD, Cast
from tests.training.queue.claims.test_claim_order import claim, queued
from training.models import FineTuningJob, JobCheckpoint, TrainingPolicy

LIST = "/admin/training/finetuningjob/"
PAGES = ("finetuningjob", "jobattempt", "jobevent", "jobcheckpoint", "trainingpolicy")


@pytest.fixture
def job(cast: Cast, redis_url: str) -> FineTuningJob:
    """A job of acme that runs, with a checkpoint."""
    job = queued(cast.acme, suffix="canary-suffix")
    assert claim() is not None
    JobCheckpoint.objects.create(id="ftckpt_1", job=job, step=5, folder="step-5")
    TrainingPolicy.objects.create(tenant=cast.acme)
    return job


def staff(user: User) -> Client:
    """Return a client of a member of staff with all permissions of this application."""
    user.is_staff = True
    user.save()
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="training"))
    client = Client()
    assert client.login(username=user.username, password=PASSWORD)
    return client


def test_managers_see_the_jobs_of_their_tenant_alone(cast: Cast, job: FineTuningJob) -> None:
    owner, stranger = staff(cast.owner), staff(cast.stranger)
    for page in PAGES:
        path = f"/admin/training/{page}/"
        own, other = owner.get(path), stranger.get(path)
        assert (own.status_code, other.status_code) == (200, 200)
        identity = "acme" if page == "trainingpolicy" else job.id
        assert identity in own.content.decode()
        assert identity not in other.content.decode()
    page = f"{LIST}{job.id}/change/"
    assert "canary-suffix" in owner.get(page).content.decode()
    assert stranger.get(page).status_code in (302, 404)


@pytest.mark.parametrize("action", ["cancel", "pause"])
def test_buttons_ask_and_then_act_through_the_services(cast: Cast, job: FineTuningJob, action: str) -> None:
    owner = staff(cast.owner)
    path = f"{LIST}{job.id}/{action}/"
    page = owner.get(path)
    assert page.status_code == 200
    job.refresh_from_db()
    assert job.requested_action == ""
    assert owner.post(path).status_code == 302
    job.refresh_from_db()
    assert job.requested_action == action
    assert AdminAudit.objects.get(action=f"job.{action}").actor == "user:owner"


def test_an_impossible_action_is_explained(cast: Cast, job: FineTuningJob) -> None:
    FineTuningJob.objects.filter(id=job.id).update(status="succeeded")
    response = staff(cast.owner).post(f"{LIST}{job.id}/resume/", follow=True)
    assert "Its state: succeeded." in response.content.decode()


@pytest.mark.parametrize("name", ["member", "stranger"])
def test_others_cant_act(cast: Cast, job: FineTuningJob, name: str) -> None:
    client = staff(getattr(cast, name))
    assert client.post(f"{LIST}{job.id}/cancel/").status_code in (403, 404)
    job.refresh_from_db()
    assert job.requested_action == ""


def test_jobs_are_neither_added_changed_nor_deleted_by_hand(cast: Cast, job: FineTuningJob) -> None:
    owner = staff(cast.owner)
    assert owner.get(f"{LIST}add/").status_code == 403
    assert owner.get(f"{LIST}{job.id}/delete/").status_code == 403
    owner.post(f"{LIST}{job.id}/change/", {"status": "succeeded", "priority": "9"})
    job.refresh_from_db()
    assert (job.status, job.priority) == ("running", 5)


def test_only_superusers_set_policies(cast: Cast, job: FineTuningJob) -> None:
    path = f"/admin/training/trainingpolicy/{cast.acme.id}/change/"
    values = {"allows_preemption": "", "max_running_jobs": "2"}
    assert staff(cast.owner).post(path, values).status_code == 403
    User.objects.create_superuser("root", password=PASSWORD)
    client = Client()
    assert client.login(username="root", password=PASSWORD)
    assert client.post(path, values).status_code == 302
    policy = TrainingPolicy.objects.get(tenant=cast.acme)
    assert (policy.allows_preemption, policy.max_running_jobs) == (False, 2)
    assert AdminAudit.objects.get(action="training_policy.set").after == {
        "allows_preemption": False,
        "max_running_jobs": 2,
    }
    with translation.override("en"):  # the test client leaves its language active in this thread
        chinese = client.get(LIST, headers={"Accept-Language": "zh-hans"}).content.decode()
    assert "微调" in chinese
