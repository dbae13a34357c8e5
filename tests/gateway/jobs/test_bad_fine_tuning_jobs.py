"""Impossible fine-tuning jobs are refused when they are created, with the parameter and the remedy."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from api.gateway.app import Gateway
from tests.gateway.conftest import Keys
from tests.gateway.harness.driver import call
from tests.gateway.harness.jobs import CHAT_LINE, JOBS, PAIR_LINE, create, jsonl, store_file
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.threads import in_thread
from tests.gateway.jobs.bad_jobs import BAD_JOBS, BadJob
from tests.openapi_validation import request_is_wrong
from training.models import FineTuningJob

# Errors of values that the schema in the OpenAPI document excludes.
SCHEMA_CODES = {
    *("missing_required_parameter", "unknown_parameter", "unsupported_parameter", "invalid_type"),
    *("integer_below_min_value", "integer_above_max_value", "decimal_below_min_value"),
    *("decimal_above_max_value", "string_below_min_length", "string_above_max_length", "empty_array"),
}

pytestmark = pytest.mark.usefixtures("trainable")


def _files(keys: Keys) -> dict[str, str]:
    yesterday = timezone.now() - dt.timedelta(1)
    chats = jsonl(CHAT_LINE)
    return {
        "TRAINING": store_file(keys.acme_id, chats),
        "VALIDATION": store_file(keys.acme_id, chats),
        "PAIRS": store_file(keys.acme_id, jsonl(PAIR_LINE)),
        "USER_DATA": store_file(keys.acme_id, chats, "user_data"),
        "EMPTY": store_file(keys.acme_id, chats, dataset_report={"examples": 0}),
        "FOREIGN": store_file(keys.globex_id, chats),
        "EXPIRED": store_file(keys.acme_id, chats, expires_at=yesterday),
    }


def _register_served_model() -> None:
    from inference_worker.registry.services import model_register

    model_register(name="org/served", actor="tests")


def _with_files(value: Any, files: dict[str, str]) -> Any:
    return files.get(value, value) if isinstance(value, str) else value


@pytest.mark.criterion("2.10")
@pytest.mark.case("training.20")
@pytest.mark.case("training.22")
@pytest.mark.refuses("fine_tuning", "integrations")
async def test_every_bad_job_is_refused_with_its_parameter_and_a_remedy(gateway: Gateway, keys: Keys) -> None:
    files = await in_thread(lambda: _files(keys))
    await in_thread(_register_served_model)
    wrong: list[tuple[BadJob, Any]] = []
    for bad in BAD_JOBS:
        changes = {name: _with_files(value, files) for name, value in bad.changes.items()}
        training_file = changes.pop("training_file", files["TRAINING"])
        reply = await create(gateway, keys.acme, training_file, **changes)
        error = reply.document.get("error", {})
        if (reply.status, error.get("code"), error.get("param")) != (bad.status, bad.code, bad.param) or (
            bad.message not in error["message"]
        ):
            wrong.append((bad, reply.document))
    assert not wrong, wrong
    assert await in_thread(FineTuningJob.objects.count) == 0


def test_the_document_rejects_every_bad_job_apart_from_rules() -> None:
    valid = {"model": "tiny", "training_file": "file-1"}
    assert not request_is_wrong(JOBS, valid)
    for bad in BAD_JOBS:
        body = {name: value for name, value in {**valid, **bad.changes}.items() if value is not ...}
        is_of_schema = bad.code in SCHEMA_CODES and bad.param != "metadata"  # whose keys a rule checks
        assert request_is_wrong(JOBS, body) or not is_of_schema, bad


async def test_a_file_of_another_tenant_looks_like_an_unknown_one(gateway: Gateway, keys: Keys) -> None:
    foreign = await in_thread(lambda: store_file(keys.globex_id, jsonl(CHAT_LINE)))
    unknown = "file-" + "0" * (len(foreign) - 5)
    replies = [await create(gateway, keys.acme, file_id) for file_id in (foreign, unknown)]
    assert replies[0].body == replies[1].body.replace(unknown.encode(), foreign.encode())


async def test_a_restricted_model_of_another_tenant_looks_like_an_unknown_one(
    gateway: Gateway, keys: Keys
) -> None:
    file_id = await in_thread(lambda: store_file(keys.globex_id, jsonl(CHAT_LINE)))
    models = ("org/private", "org/none")
    replies = [await create(gateway, keys.globex, file_id, model=model) for model in models]
    assert [reply.status for reply in replies] == [404, 404]
    assert replies[0].body == replies[1].body.replace(b"org/none", b"org/private")


async def test_a_refusal_names_no_restricted_model_of_another_tenant(gateway: Gateway, keys: Keys) -> None:
    await in_thread(_register_served_model)
    file_id = await in_thread(lambda: store_file(keys.globex_id, jsonl(CHAT_LINE)))
    reply = await create(gateway, keys.globex, file_id, model="org/served")
    assert reply.error["code"] == "model_not_trainable"
    assert reply.error["message"].endswith("use one of 'tiny'.")


@pytest.mark.case("training.20")
async def test_a_model_whose_workers_load_no_adapters_is_refused(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.max_lora_rank = 0
    file_id = await in_thread(lambda: store_file(keys.acme_id, jsonl(CHAT_LINE)))
    reply = await create(gateway, keys.acme, file_id)
    assert (reply.status, reply.error["code"]) == (400, "model_not_trainable")
    assert "its inference workers don't load adapters" in reply.error["message"]


BAD_QUERIES = (
    ("?limit=0", "integer_below_min_value", "limit"),
    ("?limit=101", "integer_above_max_value", "limit"),
    ("?after=ftjob-0", "invalid_value", "after"),
    ("?after=%00", "invalid_value", "after"),
    ("?metadata=1", "invalid_value", "metadata"),
    ("?metadata=null&metadata[k]=v", "invalid_value", "metadata"),
    ("?order=asc", "unknown_parameter", "order"),
    ("?limit[k]=1", "unknown_parameter", "limit[k]"),
    ("/ID/events?after=ftevent-0", "invalid_value", "after"),
    ("/ID/events?after=EVENT-99", "invalid_value", "after"),
    ("/ID/events?after=EVENT-01", "invalid_value", "after"),
    ("/ID/events?stream=yes", "invalid_value", "stream"),
    ("/ID/events?starting_after=1", "invalid_value", "starting_after"),
    ("/ID/events?stream=true&limit=1", "invalid_value", "limit"),
    ("/ID/events?stream=true&starting_after=99", "invalid_value", "starting_after"),
    ("/ID/checkpoints?after=ftckpt_0", "invalid_value", "after"),
)


async def test_bad_queries_are_refused(gateway: Gateway, keys: Keys) -> None:
    file_id = await in_thread(lambda: store_file(keys.acme_id, jsonl(CHAT_LINE)))
    job_id = (await create(gateway, keys.acme, file_id)).document["id"]
    for query, code, param in BAD_QUERIES:
        path = query.replace("ID", job_id).replace("EVENT", "ftevent-" + job_id.removeprefix("ftjob-"))
        reply = await call(gateway, "GET", JOBS + path, key=keys.acme)
        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param), query


async def test_an_unknown_job_is_not_found(gateway: Gateway, keys: Keys) -> None:
    for job_id in ("ftjob-\0", "ftjob-" + "x" * 99, "resp_1", "ftjob-0"):
        for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/checkpoints"), ("POST", "/cancel")):
            reply = await call(gateway, method, f"{JOBS}/{job_id}{path}", key=keys.acme)
            assert (reply.status, reply.error["code"]) == (404, "fine_tuning_job_not_found")
