"""Limits on the endpoints beside the engine's: models, files and fine-tuning."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
import redis

from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import chat
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.jobs import chat_file, create
from tests.gateway.harness.quota_setup import limit_key, limit_tenant, open_reservations
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import body_script
from tests.gateway.harness.threads import in_thread
from tests.gateway.harness.uploads import form, upload

pytestmark = pytest.mark.usefixtures("quick_rebuilds")


async def model_ids(gateway: Any, key: str) -> list[str]:
    document = (await call(gateway, "GET", "/v1/models", key=key)).document
    return [model["id"] for model in document["data"]]


@pytest.mark.parametrize("holder", ["tenant", "key"])
async def test_a_model_that_is_not_allowed_is_like_one_that_does_not_exist(
    gateway: Any, keys: Keys, client: ScriptedClient, holder: str
) -> None:
    client.models = ("tiny", "org/private")
    client.scripts = [body_script()]
    assert await model_ids(gateway, keys.acme) == ["org/private", "tiny"]
    limit, owner = (limit_tenant, keys.acme_id) if holder == "tenant" else (limit_key, keys.acme)
    await in_thread(partial(limit, owner, allowed_models=["org/private"]))
    gateway.find_principal.__self__.clear()
    assert await model_ids(gateway, keys.acme) == ["org/private"]
    for name in ("tiny", "default"):
        refusal, unknown = (
            await chat(gateway, keys.acme, model=name),
            await chat(gateway, keys.acme, model="x"),
        )
        assert (refusal.status, refusal.error["code"]) == (404, "model_not_found")
        assert refusal.error["message"].replace(name, "x") == unknown.error["message"]
        reply = await call(gateway, "GET", f"/v1/models/{name}", key=keys.acme)
        assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    assert (await chat(gateway, keys.acme, model="org/private")).status == 200
    assert await model_ids(gateway, keys.globex) == ["tiny"]


@pytest.mark.case("serving.6")
@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"requests_per_minute": 0}, "rate_limit_exceeded"),
        ({"spend_per_month_microusd": 0}, "insufficient_quota"),
    ],
)
async def test_uploads_and_jobs_pass_the_rates_and_need_a_budget(
    gateway: Any, keys: Keys, limit: dict[str, int], code: str
) -> None:
    await in_thread(partial(limit_key, keys.acme, **limit))
    upload_reply = await upload(gateway, keys.acme)
    job = await call(gateway, "POST", "/v1/fine_tuning/jobs", key=keys.acme, body={"model": "tiny"})
    for reply in (upload_reply, job):
        assert (reply.status, reply.error["code"]) == (429, code)


async def test_an_upload_counts_as_a_request_and_leaves_no_reservation(
    gateway: Any, keys: Keys, redis_client: redis.Redis
) -> None:
    await in_thread(partial(limit_key, keys.acme, requests_per_minute=1, concurrent_requests=1))
    first, second = [await upload(gateway, keys.acme) for _ in range(2)]
    assert (first.status, second.status) == (200, 429)
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert open_reservations(redis_client, keys.acme_id) == 0


async def test_a_tenants_limit_of_stored_bytes_replaces_the_platforms(gateway: Any, keys: Keys) -> None:
    await in_thread(partial(limit_tenant, keys.acme_id, stored_bytes=10_000))
    reply: Reply = await upload(gateway, keys.acme, form(b"x" * 20_000))
    assert (reply.status, reply.error["code"]) == (413, "file_quota_exceeded")
    assert "limit of 10000 bytes. It exceeds the limit by itself" in reply.error["message"]
    assert (await upload(gateway, keys.acme, form(b"x" * 900))).status == 200
    reply = await upload(gateway, keys.acme, form(b"x" * 9_500))
    assert (reply.status, reply.error["code"]) == (413, "file_quota_exceeded")
    assert "Please delete files that are no longer needed" in reply.error["message"]
    assert (await upload(gateway, keys.globex, form(b"x" * 20_000))).status == 200


@pytest.mark.usefixtures("trainable")
async def test_of_two_jobs_with_a_budget_for_one_only_one_is_created(gateway: Any, keys: Keys) -> None:
    from inference_worker.registry.models import ServedModel
    from tenants.files.models import StoredFile

    file_id = await chat_file(keys.acme_id)
    size = (await in_thread(lambda: StoredFile.objects.get(id=file_id))).size_bytes
    await in_thread(lambda: ServedModel.objects.filter(name="tiny").update(training_price=4_000_000))
    await in_thread(partial(limit_key, keys.acme, spend_per_day_microusd=size * 3))
    options = {"hyperparameters": {"n_epochs": 2}}  # a byte costs a micro-dollar in each epoch
    replies = await asyncio.gather(*(create(gateway, keys.acme, file_id, **options) for _ in range(2)))
    assert sorted(reply.status for reply in replies) == [200, 429]
    refusal = max(replies, key=lambda reply: reply.status)
    assert (refusal.error["code"], refusal.error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert refusal.headers["x-should-retry"] == "false"
    assert "of this API key doesn't cover this request: spend per day" in refusal.error["message"]
    assert "The budget is renewed at" in refusal.error["message"]
    assert 1 < int(refusal.headers["retry-after"]) <= 86_400
    (job_id,) = [reply.document["id"] for reply in replies if reply.status == 200]
    await call(gateway, "POST", f"/v1/fine_tuning/jobs/{job_id}/cancel", key=keys.acme)
    assert (await create(gateway, keys.acme, file_id, **options)).status == 200


@pytest.mark.usefixtures("trainable")
async def test_what_a_job_may_cost_is_reserved_from_requests_until_it_ends(
    gateway: Any, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    from inference_worker.registry.models import ServedModel
    from tenants.files.models import StoredFile

    client.scripts = [body_script() for _ in range(2)]
    file_id = await chat_file(keys.acme_id)
    size = (await in_thread(lambda: StoredFile.objects.get(id=file_id))).size_bytes
    prices = {"training_price": 4_000_000, "completion_price": 1_000_000}
    await in_thread(lambda: ServedModel.objects.filter(name="tiny").update(**prices))
    await in_thread(partial(limit_tenant, keys.acme_id, spend_per_month_microusd=size + 50))
    assert (await chat(gateway, keys.acme, max_completion_tokens=40)).status == 200
    creation = await create(gateway, keys.acme, file_id, hyperparameters={"n_epochs": 1})
    assert creation.status == 200
    refusal = await chat(gateway, keys.acme, max_completion_tokens=51)
    assert (refusal.status, refusal.error["code"]) == (429, "insufficient_quota")
    job_id = creation.document["id"]
    await call(gateway, "POST", f"/v1/fine_tuning/jobs/{job_id}/cancel", key=keys.acme)
    assert (await chat(gateway, keys.acme, max_completion_tokens=51)).status == 200


@pytest.mark.usefixtures("trainable")
async def test_a_person_needs_only_the_budget_of_the_tenant(gateway: Any, keys: Keys) -> None:
    from tenants.models import Tenant
    from training.jobs.budget import check_budget
    from training.requests.job_request import JobRequest
    from training.requests.refusals import JobRefusedError

    file_id = await chat_file(keys.acme_id)
    await in_thread(partial(limit_tenant, keys.acme_id, spend_per_month_microusd=5))

    def check(price: int) -> None:
        tenant = Tenant.objects.get(id=keys.acme_id)
        check_budget(JobRequest(base_model="tiny", training_file=file_id), tenant, "user:owner", price)

    await in_thread(partial(check, 0))
    with pytest.raises(JobRefusedError, match=r"\$0\.000005 on spend per month"):
        await in_thread(partial(check, 1_000_000))
