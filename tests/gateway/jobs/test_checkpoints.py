"""Checkpoints of a job through the official SDK, and their publication."""

from __future__ import annotations

from unittest import mock

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob as FineTuningJobObject

from api.gateway.app import Gateway
from tenants.models import AdminAudit
from tests.gateway.conftest import Keys
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.jobs import JOBS, Attempt, check_documents, created_job, extension_of, stored_job
from tests.gateway.harness.threads import in_thread
from tests.openapi_validation import answer_faults
from training.models import JobCheckpoint

pytestmark = pytest.mark.usefixtures("trainable")


async def test_checkpoints_have_pages_newest_first(
    sdk: openai.AsyncOpenAI, gateway: Gateway, keys: Keys
) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id, suffix="mine")
    attempt = await Attempt.claim()
    for step in (1, 2, 3):
        await attempt.checkpoint(step)
    pages = await sdk.fine_tuning.jobs.checkpoints.list(job_id, limit=2)
    assert ([each.step_number for each in pages.data], pages.has_more) == ([3, 2], True)
    assert [each.step_number async for each in pages] == [3, 2, 1]
    first = pages.data[0]
    assert first.fine_tuning_job_id == job_id
    assert first.metrics.train_loss == pytest.approx(2 / 3)
    name = f"ft:tiny:acme:mine:{job_id.removeprefix('ftjob-')[:8]}:ckpt-step-3"
    assert (first.fine_tuned_model_checkpoint, extension_of(first)) == (
        name,
        {"is_best": True, "state": "not_ended"},
    )


async def test_a_page_reads_all_checkpoints_at_once(gateway: Gateway, keys: Keys) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    attempt = await Attempt.claim()
    await attempt.checkpoint(1)
    with mock.patch.object(JobCheckpoint, "refresh_from_db") as read_one:
        reply = await call(gateway, "GET", f"{JOBS}/{job_id}/checkpoints", key=keys.acme)
    assert (reply.status, read_one.called) == (200, False)


async def test_a_checkpoint_is_published_by_a_job_that_its_id_creates_once(
    sdk: openai.AsyncOpenAI, gateway: Gateway, keys: Keys
) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id, suffix="mine", cyllm={"keep_checkpoints": 1})
    attempt = await Attempt.claim()
    for step in (1, 2, 3):
        await attempt.checkpoint(step)
    first, last = [(await sdk.fine_tuning.jobs.checkpoints.list(job_id)).data[place].id for place in (2, 0)]

    async def publish(checkpoint_id: str) -> Reply:
        path = f"{JOBS}/{job_id}/checkpoints/{checkpoint_id}/publish"
        reply = await call(gateway, "POST", path, key=keys.acme)
        faults = answer_faults(
            "POST",
            f"{JOBS}/{{id}}/checkpoints/{{checkpoint}}/publish",
            reply.status,
            reply.headers,
            reply.body,
        )
        assert faults == []
        return reply

    assert "its job has not ended" in (await publish(last)).error["message"]
    await attempt.succeed()
    await check_documents(gateway, keys.acme, job_id)
    refusal = await publish(first)
    assert (refusal.status, refusal.error["code"]) == (400, "checkpoint_not_publishable")
    for unknown_id in ("ftckpt_none", "ftckpt_%00"):
        error = (await publish(unknown_id)).error
        assert error["code"] == "fine_tuning_checkpoint_not_found"
    publication = (await publish(last)).document
    assert publication["cyllm"]["source_checkpoint"] == last
    assert publication["cyllm"]["status"] == "queued"
    path = f"/fine_tuning/jobs/{job_id}/checkpoints/{last}/publish"  # as in docs/fine-tuning.md
    repetition = await sdk.post(path, cast_to=FineTuningJobObject)
    assert (repetition.id, repetition.status) == (publication["id"], "queued")
    audit = await in_thread(lambda: AdminAudit.objects.get(action="job.create", object_id=publication["id"]))
    assert (audit.actor.split(":")[0], str(audit.tenant_id)) == ("key", keys.acme_id)
    assert (await stored_job(publication["id"])).correlation_id
