"""Fine-tuning jobs through the official SDK: creation, lists, changes of state, results."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import openai
import pytest
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from api.gateway.app import Gateway
from tenants.models import AdminAudit
from tenants.services import tenant_update
from tests.gateway.conftest import Keys
from tests.gateway.harness.driver import call
from tests.gateway.harness.jobs import (
    CHAT_LINE,
    JOBS,
    PAIR_LINE,
    STEPS,
    Attempt,
    chat_file,
    check_documents,
    create,
    created_job,
    extension_of,
    jsonl,
    store_file,
    stored_job,
)
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.threads import in_thread
from training.models import FineTuningJob

pytestmark = pytest.mark.usefixtures("trainable")


@pytest.mark.honours(
    "fine_tuning",
    *("model", "training_file", "validation_file", "method", "suffix", "seed", "metadata"),
)
async def test_a_job_of_the_sdk_has_the_requested_settings(
    sdk: openai.AsyncOpenAI, gateway: Gateway, keys: Keys
) -> None:
    training, validation = await chat_file(keys.acme_id), await chat_file(keys.acme_id)
    job = await sdk.fine_tuning.jobs.create(
        model="default",
        training_file=training,
        validation_file=validation,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": 0.5}},
        },
        suffix="my-model",
        seed=7,
        metadata={"team": "north"},
    )
    assert (job.model, job.status, job.organization_id) == ("tiny", "validating_files", "acme")
    assert (job.training_file, job.validation_file) == (training, validation)
    assert (job.seed, job.metadata, job.error, job.fine_tuned_model) == (7, {"team": "north"}, None, None)
    assert job.hyperparameters.to_dict() == {
        "n_epochs": 2,
        "batch_size": "auto",
        "learning_rate_multiplier": 0.5,
    }
    assert job.method is not None
    assert job.method.supervised is not None
    assert job.method.supervised.hyperparameters is not None
    assert job.method.supervised.hyperparameters.to_dict() == job.hyperparameters.to_dict()
    row = await stored_job(job.id)
    assert (row.suffix, row.created_by) == ("my-model", f"key:{keys.acme.split('-')[2]}")


@pytest.mark.honours("fine_tuning", "cyllm", "hyperparameters")
async def test_options_of_the_platform_reach_the_job(gateway: Gateway, keys: Keys) -> None:
    options = {"rank": 4, "target_modules": ["q_proj", "o_proj"], "priority": 9, "learning_rate": 1e-3}
    job_id = await created_job(
        gateway, keys.acme, keys.acme_id, cyllm=options, hyperparameters={"batch_size": 2}
    )
    row = await stored_job(job_id)
    assert (row.priority, row.hyperparameters, row.worker_class) == (9, {"batch_size": 2}, "default")
    assert {name: row.options[name] for name in ("rank", "target_modules", "learning_rate", "dropout")} == {
        "rank": 4,
        "target_modules": ["q_proj", "o_proj"],
        "learning_rate": 1e-3,
        "dropout": 0.0,
    }
    extension = (await call(gateway, "GET", f"{JOBS}/{job_id}", key=keys.acme)).document["cyllm"]
    assert (extension["priority"], extension["options"]["rank"]) == (9, 4)


async def test_hyperparameters_may_be_in_both_places_if_they_agree(gateway: Gateway, keys: Keys) -> None:
    file_id = await in_thread(lambda: store_file(keys.acme_id, jsonl(PAIR_LINE)))
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "n_epochs": 2}}}
    reply = await create(gateway, keys.acme, file_id, method=method, hyperparameters={"n_epochs": 2})
    assert reply.status == 200, reply.body
    expected = {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto", "beta": 0.3}
    assert reply.document["method"] == {"type": "dpo", "dpo": {"hyperparameters": expected}}
    await check_documents(gateway, keys.acme, reply.document["id"])


async def test_lists_have_pages_newest_first(sdk: openai.AsyncOpenAI, gateway: Gateway, keys: Keys) -> None:
    job_ids = [await created_job(gateway, keys.acme, keys.acme_id) for _ in range(5)]
    pages = await sdk.fine_tuning.jobs.list(limit=2)
    assert ([job.id for job in pages.data], pages.has_more) == (job_ids[:2:-1], True)
    assert [job.id async for job in pages] == job_ids[::-1]
    events = [event async for event in await sdk.fine_tuning.jobs.list_events(job_ids[0], limit=1)]
    assert [event.message.split(":")[0] for event in events] == [
        "Files validated, moving job to queued state",
        "Validating training file",
        "Created fine-tuning job",
    ]


async def test_lists_are_filtered_by_metadata(sdk: openai.AsyncOpenAI, gateway: Gateway, keys: Keys) -> None:
    north = await created_job(gateway, keys.acme, keys.acme_id, metadata={"team": "north", "n": ""})
    south = await created_job(gateway, keys.acme, keys.acme_id, metadata={"team": "süd & co"})
    plain = await created_job(gateway, keys.acme, keys.acme_id)

    async def found(**filters: Any) -> list[str]:
        return [job.id async for job in await sdk.fine_tuning.jobs.list(**filters)]

    assert await found(metadata={"team": "north"}) == [north]
    assert await found(metadata={"team": "north", "n": ""}) == [north]
    assert await found(metadata={"team": "süd & co"}) == [south]
    assert await found(metadata={"team": "west"}) == []
    assert await found(extra_query={"metadata": "null"}) == [plain]
    assert await found(metadata={}) == [plain, south, north]


async def test_a_job_that_waits_is_paused_resumed_and_cancelled(
    sdk: openai.AsyncOpenAI, gateway: Gateway, keys: Keys
) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    jobs = sdk.fine_tuning.jobs
    paused_job = await jobs.pause(job_id)
    # OpenAI's statuses have none for paused jobs.
    assert (paused_job.status, extension_of(paused_job)["paused"]) == ("queued", True)
    assert (await jobs.pause(job_id)).to_dict() == paused_job.to_dict()
    resumed_job = await jobs.resume(job_id)
    assert (resumed_job.status, extension_of(resumed_job)["paused"]) == ("queued", False)
    cancelled_job = await jobs.cancel(job_id)
    assert (cancelled_job.status, cancelled_job.finished_at is not None) == ("cancelled", True)
    for action, call_action in (("cancelled", jobs.cancel), ("paused", jobs.pause), ("resumed", jobs.resume)):
        with pytest.raises(openai.BadRequestError) as error:
            await call_action(job_id)
        assert error.value.code == "invalid_job_state"
        assert f"can't be {action}: its status is cancelled" in error.value.message


async def test_a_running_job_shows_its_progress_until_it_has_a_model(
    sdk: openai.AsyncOpenAI, gateway: Gateway, keys: Keys
) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    attempt = await Attempt.claim()
    await attempt.prepared()
    await attempt.step(1)
    running = await sdk.fine_tuning.jobs.retrieve(job_id)
    extension = extension_of(running)
    assert (running.status, running.trained_tokens, running.estimated_finish is not None) == (
        "running",
        None,
        True,
    )
    assert (extension["phase"], extension["step"], extension["total_steps"]) == ("training", 1, STEPS)
    pausing = extension_of(await sdk.fine_tuning.jobs.pause(job_id))
    assert (pausing["paused"], pausing["requested_action"]) == (False, "pause")
    await check_documents(gateway, keys.acme, job_id)
    await sdk.fine_tuning.jobs.resume(job_id)
    await attempt.checkpoint(2)
    await attempt.checkpoint(4)
    await attempt.succeed()
    ended_job = await sdk.fine_tuning.jobs.retrieve(job_id)
    assert (ended_job.status, ended_job.fine_tuned_model, ended_job.trained_tokens) == (
        "succeeded",
        "ft:tiny:acme::1",
        80,
    )
    assert (ended_job.result_files, ended_job.estimated_finish) == (["file-1"], None)
    assert ended_job.finished_at is not None
    await check_documents(gateway, keys.acme, job_id)


@pytest.mark.criterion("5.9")
async def test_metrics_are_events_with_figures(sdk: openai.AsyncOpenAI, gateway: Gateway, keys: Keys) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    attempt = await Attempt.claim()
    await attempt.step(2)
    event = (await sdk.fine_tuning.jobs.list_events(job_id, limit=1)).data[0]
    assert (event.type, event.level) == ("metrics", "info")
    figures = ("step", "total_steps", "train_loss", "train_mean_token_accuracy", "learning_rate")
    data: Any = event.data
    assert [data[name] for name in figures] == [2, STEPS, 1.0, 0.5, 1e-4]
    assert (data["tokens_per_s"], data["samples_per_s"]) == (100.0, 10.0)


async def test_a_failed_job_says_why_and_what_to_do(
    sdk: openai.AsyncOpenAI, gateway: Gateway, keys: Keys
) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    await (await Attempt.claim()).fail()
    job = await sdk.fine_tuning.jobs.retrieve(job_id)
    assert job.error is not None
    assert (job.status, job.error.code, job.error.message, job.error.param) == (
        "failed",
        "out_of_memory",
        "No memory is left. Lower the rank.",
        None,
    )
    event = (await sdk.fine_tuning.jobs.list_events(job_id, limit=1)).data[0]
    assert (event.level, event.data) == ("error", {"code": "out_of_memory", "next_step": "Lower the rank."})
    await check_documents(gateway, keys.acme, job_id)


async def test_a_job_needs_no_ready_worker_of_its_model(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.models = ()
    assert await created_job(gateway, keys.acme, keys.acme_id, cyllm={"rank": 64})


@pytest.mark.case("training.22")
async def test_results_that_engines_can_not_load_are_trained_without_publication(
    gateway: Gateway, keys: Keys
) -> None:
    sizes = {"max_file_bytes": 1 << 40, "tenant_file_bytes": 1 << 40}
    with override_settings(CYLLM=settings.CYLLM.model_copy(update=sizes)):
        for options in ({"adapter": "dora", "rank": 64}, {"adapter": "full"}):
            job_id = await created_job(gateway, keys.acme, keys.acme_id, cyllm={**options, "publish": False})
            assert (await stored_job(job_id)).options["publish"] is False
        tenant_id = uuid.UUID(keys.acme_id)
        await in_thread(lambda: tenant_update(tenant_id=tenant_id, actor="t", stored_bytes=10 << 30))
        training_file = await chat_file(keys.acme_id)
        reply = await create(gateway, keys.acme, training_file, cyllm={"adapter": "full", "publish": False})
    assert (reply.status, reply.error["param"]) == (400, "cyllm.adapter")
    assert "a file has at most 10.0 GiB" in reply.error["message"]


async def test_a_tenant_has_a_limit_of_open_jobs(gateway: Gateway, keys: Keys) -> None:
    jobs = [await created_job(gateway, keys.acme, keys.acme_id) for _ in range(5)]
    refusal = await create(gateway, keys.acme, await chat_file(keys.acme_id))
    assert (refusal.status, refusal.error["code"]) == (429, "too_many_jobs")
    assert "retry-after" in refusal.headers
    assert await created_job(gateway, keys.globex, keys.globex_id)
    await call(gateway, "POST", f"{JOBS}/{jobs[0]}/cancel", key=keys.acme)
    assert await created_job(gateway, keys.acme, keys.acme_id)


async def test_a_failed_job_is_not_resumed_beyond_the_limit_of_open_jobs(
    gateway: Gateway, keys: Keys
) -> None:
    failed_id, *others = [await created_job(gateway, keys.acme, keys.acme_id) for _ in range(5)]
    end = {"status": "failed", "error_code": "disk_full", "finished_at": timezone.now()}
    await in_thread(lambda: FineTuningJob.objects.filter(id=failed_id).update(**end))
    others.append(await created_job(gateway, keys.acme, keys.acme_id))
    refusal = await call(gateway, "POST", f"{JOBS}/{failed_id}/resume", key=keys.acme)
    assert (refusal.status, refusal.error["code"]) == (429, "too_many_jobs")
    assert (refusal.headers["retry-after"], refusal.headers["x-should-retry"]) == ("60", "false")
    await call(gateway, "POST", f"{JOBS}/{others[0]}/cancel", key=keys.acme)
    resumed_job = await call(gateway, "POST", f"{JOBS}/{failed_id}/resume", key=keys.acme)
    assert (resumed_job.status, resumed_job.document["status"]) == (200, "queued")


async def test_a_failed_job_is_not_resumed_beyond_the_budget(gateway: Gateway, keys: Keys) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    end = {"status": "failed", "error_code": "disk_full", "training_price": 10**9}
    await in_thread(lambda: FineTuningJob.objects.filter(id=job_id).update(**end))
    tenant_id = uuid.UUID(keys.acme_id)
    await in_thread(lambda: tenant_update(tenant_id=tenant_id, actor="t", spend_per_month_microusd=1))
    refusal = await call(gateway, "POST", f"{JOBS}/{job_id}/resume", key=keys.acme)
    assert (refusal.status, refusal.error["code"]) == (429, "insufficient_quota")
    assert "Waiting doesn't help: the job exceeds the whole budget." in refusal.error["message"]


async def test_concurrent_requests_do_not_exceed_the_limit_of_open_jobs(
    gateway: Gateway, second_gateway: Gateway, keys: Keys
) -> None:
    file_id = await chat_file(keys.acme_id)
    gateways = (gateway, second_gateway) * 6
    replies = await asyncio.gather(*(create(each, keys.acme, file_id) for each in gateways))
    assert sorted(reply.status for reply in replies) == [200] * 5 + [429] * 7


async def test_a_warning_tells_that_the_training_file_is_no_validation_file(
    gateway: Gateway, keys: Keys
) -> None:
    file_id = await chat_file(keys.acme_id)
    reply = await create(gateway, keys.acme, file_id, validation_file=file_id)
    events = await call(gateway, "GET", f"{JOBS}/{reply.document['id']}/events", key=keys.acme)
    assert [event["level"] for event in events.document["data"]] == ["warn", "info", "info"]


async def test_creation_is_recorded_and_audited(
    gateway: Gateway, keys: Keys, settled_record: RecordReader
) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    record = await settled_record(JOBS)
    assert (record.status, record.model, record.tenant_id) == (200, "tiny", keys.acme_id)
    change = await in_thread(lambda: AdminAudit.objects.get(action="job.create"))
    assert (change.object_id, str(change.tenant_id)) == (job_id, keys.acme_id)
    assert change.actor == f"key:{keys.acme.split('-')[2]}"


async def test_a_key_needs_the_scope(gateway: Gateway, keys: Keys) -> None:
    reply = await call(gateway, "GET", JOBS, key=keys.reader)
    assert (reply.status, reply.error["code"]) == (403, "insufficient_scope")
    assert "fine_tuning" in reply.error["message"]


async def test_a_file_of_a_job_that_waits_can_not_be_deleted(gateway: Gateway, keys: Keys) -> None:
    file_id = await in_thread(lambda: store_file(keys.acme_id, jsonl(CHAT_LINE)))
    job_id = (await create(gateway, keys.acme, file_id)).document["id"]
    refusal = await call(gateway, "DELETE", f"/v1/files/{file_id}", key=keys.acme)
    assert (refusal.status, refusal.error["code"], job_id in refusal.error["message"]) == (
        400,
        "file_in_use",
        True,
    )
    await call(gateway, "POST", f"{JOBS}/{job_id}/cancel", key=keys.acme)
    assert (await call(gateway, "DELETE", f"/v1/files/{file_id}", key=keys.acme)).status == 200


@pytest.mark.parametrize("query", ["metadata[a%00]=b", "metadata[a]=%00", "after=%00"])
async def test_a_query_with_a_nul_character_is_refused(gateway: Gateway, keys: Keys, query: str) -> None:
    reply = await call(gateway, "GET", f"/v1/fine_tuning/jobs?{query}", key=keys.acme)
    assert (reply.status, reply.error["code"]) == (400, "invalid_value")
