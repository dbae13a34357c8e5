"""Floods of refused requests: a few records, and counts of the others."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.http.exchange import Exchange
from api.gateway.stages.body.model_name import requested_model
from api.gateway.stages.recording import refusal_counts
from api.gateway.stages.recording.audit_values import OMITTED, audited_model, audited_param
from api.gateway.stages.recording.refusal_counts import (
    INDIVIDUAL_RECORDS,
    MAX_REFUSAL_KEYS,
    RefusalCounts,
    client_network,
)
from api.openai.errors.access import InvalidApiKey
from api.openai.errors.explanation import explain
from inference_worker.protocol.messages import Outcome, RequestEnded, RequestsRefused
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import BODIES, CHAT, chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call
from tests.gateway.harness.gateways import until_settled
from tests.gateway.harness.quota_setup import limit_key, limit_tenant, set_prices
from tests.gateway.harness.records import RecordReader, facts_of, records_of
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import body_script, chat_script
from tests.gateway.harness.threads import in_thread


@pytest.fixture
def late_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the counts of this minute to the test."""
    monkeypatch.setattr(refusal_counts, "REPORT_INTERVAL_S", 3600.0)


def refused_exchange(address: str = "192.0.2.7", endpoint: str = CHAT) -> Exchange:
    exchange = Exchange(
        method="POST",
        path=endpoint,
        headers=(),
        client_ip=address,
        correlation_id="c",
        path_template=endpoint,
    )
    exchange.fail(InvalidApiKey())
    return exchange


@pytest.mark.criterion("6.4")
async def test_a_flood_of_wrong_keys_costs_a_few_records_and_one_count(
    gateway: Gateway, keys: Keys, redis_client: redis.Redis
) -> None:
    now = [120.0]
    gateway.recorder.refusals._reported_at, gateway.recorder.refusals._clock = now[0], lambda: now[0]
    wrong_keys = [f"sk-cy-{number:012}-" + "x" * 43 for number in range(40)]
    await asyncio.gather(*(chat(gateway, key) for key in wrong_keys))
    await until_settled(gateway)
    facts = facts_of(redis_client)
    assert [type(fact) for fact in facts] == [RequestEnded] * INDIVIDUAL_RECORDS
    now[0] = 180.0
    await eventually(lambda: len(facts_of(redis_client)) == INDIVIDUAL_RECORDS + 1)
    count: Any = facts_of(redis_client)[-1]
    assert isinstance(count, RequestsRefused)
    assert (count.minute_at, count.requests, count.status) == (120, 40 - INDIVIDUAL_RECORDS, 401)
    assert (count.tenant_id, count.key_prefix, count.error_code) == (None, None, "invalid_api_key")


@pytest.mark.usefixtures("late_reports")
async def test_refusals_of_a_verified_key_are_counted_for_it(
    gateway: Gateway, keys: Keys, redis_client: redis.Redis
) -> None:
    gateway.recorder.refusals._clock = lambda: 60.0
    for _ in range(INDIVIDUAL_RECORDS + 3):
        assert (await chat(gateway, keys.reader)).status == 403
    (count,) = gateway.recorder.refusals.all()
    assert (count.tenant_id, count.requests) == (keys.acme_id, 3)
    assert (count.key_prefix, count.error_code) == (keys.reader.split("-")[2], "insufficient_scope")


@pytest.mark.usefixtures("quick_rebuilds")
@pytest.mark.usefixtures("late_reports")
async def test_a_flood_beyond_a_limit_costs_a_few_records_and_one_count(
    gateway: Gateway, keys: Keys, client: ScriptedClient, redis_client: redis.Redis
) -> None:
    gateway.recorder.refusals._clock = lambda: 60.0
    await in_thread(partial(limit_tenant, keys.acme_id, requests_per_minute=1))
    client.scripts = [body_script()]
    replies = [await chat(gateway, keys.acme) for _ in range(INDIVIDUAL_RECORDS + 5)]
    assert [reply.status for reply in replies[1:]] == [429] * (INDIVIDUAL_RECORDS + 4)
    await until_settled(gateway)
    assert len(records_of(redis_client)) == 1 + INDIVIDUAL_RECORDS
    (count,) = gateway.recorder.refusals.all()
    assert (count.tenant_id, count.error_code, count.requests) == (keys.acme_id, "rate_limit_exceeded", 4)


async def test_refusals_for_the_content_of_a_request_have_a_record_each(
    gateway: Gateway, keys: Keys, redis_client: redis.Redis
) -> None:
    for _ in range(INDIVIDUAL_RECORDS + 2):
        assert (await call(gateway, "POST", CHAT, key=keys.acme, body={})).status == 400
    await until_settled(gateway)
    assert len(facts_of(redis_client)) == INDIVIDUAL_RECORDS + 2


def test_every_refusal_is_counted_once_however_many_networks_there_are() -> None:
    counts = RefusalCounts("gw", clock=lambda: 60.0)
    records = 0
    for number in range(3 * MAX_REFUSAL_KEYS):
        address = f"10.{number // 256 % 256}.{number % 256}.1"
        records += sum(not counts.count(refused_exchange(address)) for _ in range(INDIVIDUAL_RECORDS + 1))
    facts = list(counts.all())
    assert records + sum(fact.requests for fact in facts) == 3 * MAX_REFUSAL_KEYS * (INDIVIDUAL_RECORDS + 1)
    assert len(facts) == MAX_REFUSAL_KEYS + 1
    assert sum(fact.requests for fact in facts if not fact.client_network) > MAX_REFUSAL_KEYS
    assert list(counts.all()) == []


def test_each_minute_and_endpoint_has_a_count_of_its_own() -> None:
    now = [0.0]
    counts = RefusalCounts("gw", clock=lambda: now[0])
    for at, endpoint in ((59.9, CHAT), (60.0, CHAT), (60.1, "/v1/models")):
        now[0] = at
        for _ in range(INDIVIDUAL_RECORDS + 2):
            counts.count(refused_exchange(endpoint=endpoint))
    assert [(fact.minute_at, fact.requests) for fact in counts.due()] == [(0, 2), (60, 2), (60, 2)]
    assert list(counts.all()) == []


def test_a_flood_is_reported_every_ten_seconds_and_each_refusal_once() -> None:
    now, reports = [0.0], list[tuple[int, int]]()
    counts = RefusalCounts("gw", clock=lambda: now[0])
    records = 0
    for second in range(70):
        now[0] = float(second)
        records += not counts.count(refused_exchange(endpoint=CHAT))
        reports += [(second, fact.requests) for fact in counts.due()]
    assert [second for second, _ in reports] == [10, 20, 30, 40, 50, 60]
    rest = sum(fact.requests for fact in counts.all())
    assert (records, sum(requests for _, requests in reports) + rest) == (2 * INDIVIDUAL_RECORDS, 60)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("", ""),
        ("unix:", ""),
    ],
)
def test_clients_are_counted_by_network(address: str, network: str) -> None:
    assert client_network(address) == network


@pytest.mark.case("admin.2")
async def test_the_record_of_a_refused_request_names_parameter_and_model(
    gateway: Gateway, keys: Keys, settled_record: RecordReader
) -> None:
    body = {**BODIES[CHAT], "model": "no-such-model", "temperature": 9}
    reply = await call(gateway, "POST", CHAT, key=keys.acme, body=body)
    record = await settled_record()
    assert (reply.error["code"], record.error_param) == ("decimal_above_max_value", "temperature")
    assert (record.requested_model, record.model, record.outcome) == ("no-such-model", None, Outcome.REFUSED)


@pytest.mark.case("admin.2")
@pytest.mark.usefixtures("quick_rebuilds")
@pytest.mark.parametrize(
    ("holder", "limit", "code", "path", "explanation"),
    [
        (
            "tenant",
            {"requests_per_minute": 0},
            "rate_limit_exceeded",
            "tenant.requests_per_minute",
            "Rate limit reached for your tenant on requests per minute: limit …, used …, requested …. "
            "(Values shown as “…” are not recorded.)",
        ),
        (
            "key",
            {"spend_per_day_microusd": 0},
            "insufficient_quota",
            "key.spend_per_day",
            "The budget of this API key doesn't cover this request: spend per day is limited to …, … is "
            "spent or reserved, and this request can cost …. (Values shown as “…” are not recorded.)",
        ),
    ],
)
async def test_the_record_of_a_request_beyond_a_limit_names_the_limit_and_its_holder(
    gateway: Gateway,
    keys: Keys,
    settled_record: RecordReader,
    holder: str,
    limit: dict[str, int],
    code: str,
    path: str,
    explanation: str,
) -> None:
    await in_thread(set_prices)
    change, owner = (limit_tenant, keys.acme_id) if holder == "tenant" else (limit_key, keys.acme)
    await in_thread(partial(change, owner, **limit))
    reply = await chat(gateway, keys.acme)
    record = await settled_record()
    assert (reply.error["code"], reply.error["param"]) == (code, None)
    assert record.error_param == path
    texts = explain(code, path, "")
    assert texts is not None
    assert texts[0] == explanation


def test_a_recorded_message_without_missing_values_has_no_note() -> None:
    texts = explain("unknown_parameter", "temprature", "")
    assert texts is not None
    assert texts[0] == "Unknown parameter: 'temprature'."


async def test_the_record_has_the_alias_that_the_client_used(
    gateway: Gateway, keys: Keys, client: ScriptedClient, settled_record: RecordReader
) -> None:
    client.scripts = [chat_script()]
    await call(gateway, "POST", CHAT, key=keys.acme, body={**BODIES[CHAT], "model": "default"})
    record = await settled_record()
    assert (record.requested_model, record.model, record.error_param) == ("default", "tiny", None)


@pytest.mark.criterion("6.7")
@pytest.mark.parametrize(
    ("param", "audited_name"),
    [
        (None, None),
        ("messages[2].content[0].text", "messages[2].content[0].text"),
        ("my-secret", OMITTED),
        (
            "tools[0].function.parameters.properties.jane@example.com",
            f"tools[0].function.parameters.{OMITTED}",
        ),
        ("messages[4111111111111111]", f"messages[{OMITTED}]"),
        ("starting_after", "starting_after"),
    ],
)
def test_names_that_the_client_chose_are_not_recorded(param: str | None, audited_name: str | None) -> None:
    result = audited_param(param)
    assert result is None if audited_name is None else (result or "").startswith(audited_name)
    assert "example" not in (result or "")


@pytest.mark.criterion("6.7")
@pytest.mark.parametrize(
    ("name", "audited_name"),
    [
        ("org/model-7b:latest", "org/model-7b:latest"),
        ("ft:tiny:acme::1", "ft:tiny:acme::1"),
        ("sk-cy-abcdefghijkl-secret", OMITTED),
        ("4111-1111-1111-1111", OMITTED),
        ("jane@example.com", OMITTED),
        ("Tell me a story", OMITTED),
        ("m" * 300, OMITTED),
        ("", None),
        (None, None),
    ],
)
def test_only_names_of_models_are_recorded_as_such(name: str | None, audited_name: str | None) -> None:
    assert audited_model(name) == audited_name
    assert requested_model({"model": name}) == name
    assert requested_model([name]) is requested_model({"model": 5}) is None
