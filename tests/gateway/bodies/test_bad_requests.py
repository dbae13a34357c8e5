"""Bad requests get errors in OpenAI's format, with the right status and a message that names the fault."""

from __future__ import annotations

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.settings import Limits
from inference_worker.protocol.messages import Outcome
from tests.gateway.bodies.bad_requests import BAD_REQUESTS, mismatches
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import CHAT, COMPLETIONS, chat
from tests.gateway.harness.driver import call, connect
from tests.gateway.harness.records import RecordReader, starts_of
from tests.gateway.harness.scripted import ScriptedClient


@pytest.fixture
def limits() -> Limits:
    return LONG_LIMITS.model_copy(update={"max_body_bytes": 64 * 1024, "client_body_timeout_s": 0.3})


@pytest.mark.case("serving.30")
@pytest.mark.criterion("1.7")
async def test_each_invalid_parameter_is_named_in_the_error(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    assert await mismatches(gateway, keys.acme, BAD_REQUESTS) == []
    assert len(BAD_REQUESTS) >= 100
    assert client.calls == [], "a bad request reached a worker"


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize(
    ("raw", "code", "message"),
    [
        (b"", "invalid_json", "line 1 column 1"),
        (b'{"model": "tiny", ', "invalid_json", "line 1"),
        (b"[]", "invalid_json", "an object"),
        (b'"text"', "invalid_json", "an object"),
        (b'{"model": "\xff"}', "invalid_json", "byte 11"),
        ('{"model": "tiny"}'.encode("utf-16"), "invalid_json", "UTF-8"),
        (b"\xff\xfe{\x00}\x00", "invalid_json", "byte 0"),
        (b'{"temperature": NaN}', "invalid_json", "NaN"),
        (b'{"temperature": 1e999}', "invalid_json", "out of range"),
        (b'{"n": ' + b"9" * 5000 + b"}", "invalid_json", "too long"),
        (b'{"model": "a", "model": "b"}', "duplicate_key", "'model'"),
        (b"[" * 65 + b"]" * 65, "json_too_deep", "64"),
        (b'{"a":' * 20_000, "request_too_large", "65536"),
        (b"[" * 60_000, "json_too_deep", "64"),
    ],
)
async def test_a_malformed_body_is_rejected_before_it_is_parsed(
    gateway: Gateway, keys: Keys, raw: bytes, code: str, message: str
) -> None:
    reply = await call(gateway, "POST", CHAT, key=keys.acme, raw=raw)
    assert (reply.status, reply.error["code"]) == (413 if code == "request_too_large" else 400, code)
    assert message in reply.error["message"]


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize(
    "raw",
    [
        b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "\\uDFFF", "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "tiny", "messages": [], "user": {"a\\ud83d": 1}}',
    ],
)
async def test_an_unpaired_surrogate_is_not_valid_json(gateway: Gateway, keys: Keys, raw: bytes) -> None:
    reply = await call(gateway, "POST", CHAT, key=keys.acme, raw=raw)
    assert (reply.status, reply.error["code"]) == (400, "invalid_json")


@pytest.mark.criterion("6.8")
async def test_a_body_can_be_too_large_by_its_header_or_its_bytes(gateway: Gateway, keys: Keys) -> None:
    headers = {"content-length": "99999999"}
    large_by_header = await call(gateway, "POST", CHAT, key=keys.acme, raw=b"{}", headers=headers)
    large_by_bytes = await call(gateway, "POST", CHAT, key=keys.acme, chunks=[b"x" * 40_000] * 3)
    for reply in (large_by_header, large_by_bytes):
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")
        assert "65536" in reply.error["message"]


@pytest.mark.criterion("6.9")
async def test_a_body_that_stops_arriving_is_a_client_timeout(gateway: Gateway, keys: Keys) -> None:
    reply = await call(gateway, "POST", CHAT, key=keys.acme, raw=b'{"model":', incomplete=True)
    assert (reply.status, reply.error["code"]) == (408, "client_timeout")
    assert "0.3 s" in reply.error["message"]


async def test_a_disconnect_while_the_body_is_sent_is_recorded(
    gateway: Gateway, keys: Keys, settled_record: RecordReader
) -> None:
    connection = connect(gateway, "POST", COMPLETIONS, key=keys.acme, raw=b"{", incomplete=True)
    await connection.close()
    record = await settled_record()
    assert (record.status, record.outcome, connection.reply.status) == (499, Outcome.CANCELLED, 0)


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", CHAT, {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ("POST", CHAT, {"content-type": ""}, 415, "unsupported_media_type"),
        (
            "POST",
            CHAT,
            {"content-type": "application/json; charset=latin-1"},
            415,
            "unsupported_media_type",
        ),
        ("POST", COMPLETIONS, {"content-encoding": "br"}, 415, "unsupported_media_type"),
        ("GET", CHAT, {}, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", {}, 405, "method_not_allowed"),
        ("POST", "/v1/models/tiny", {}, 405, "method_not_allowed"),
        ("POST", "/v1/chat", {}, 404, "unknown_url"),
        ("GET", "/v1/", {}, 404, "unknown_url"),
        ("GET", "/v1/<script>\r\nx: y", {}, 404, "unknown_url"),
    ],
)
async def test_wrong_urls_methods_and_media_types_have_their_own_codes(
    gateway: Gateway, keys: Keys, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    reply = await call(gateway, method, path, key=keys.acme, body={}, headers=headers)
    assert (reply.status, reply.error["code"], reply.error["type"]) == (status, code, "invalid_request_error")
    assert "\r" not in reply.error["message"]
    if status == 405:
        assert reply.headers["allow"] in reply.error["message"]


async def test_unknown_and_invisible_models_give_the_same_error(gateway: Gateway, keys: Keys) -> None:
    unknown = await chat(gateway, keys.globex, model="org/nothing")
    invisible = await chat(gateway, keys.globex, model="org/private")
    assert unknown.status == invisible.status == 404
    assert unknown.error["code"] == "model_not_found"
    assert unknown.error == {
        **invisible.error,
        "message": invisible.error["message"].replace("private", "nothing"),
    }


@pytest.mark.criterion("5.2")
async def test_a_rejected_request_has_one_record_and_no_start(
    gateway: Gateway, keys: Keys, settled_record: RecordReader, redis_client: redis.Redis
) -> None:
    await chat(gateway, keys.acme, temperature=9)
    record = await settled_record()
    assert (record.status, record.outcome, record.error_code) == (
        400,
        Outcome.REFUSED,
        "decimal_above_max_value",
    )
    assert (record.tenant_id, record.attempt, record.endpoint) == (keys.acme_id, 0, CHAT)
    assert starts_of(redis_client) == []
