"""A wrong request gets OpenAI's error format, the right status, and a message that names the fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.gateway.app import Gateway
from inference_worker.protocol.messages import Outcome
from tests.gateway import bad_requests
from tests.gateway.conftest import Keys
from tests.gateway.driver import call, chat, visit
from tests.gateway.scripted import ScriptedClient

ERROR_FIELDS = {"message", "type", "param", "code"}
BASES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]},
    "/v1/completions": {"model": "tiny", "prompt": "hello"},
}
ROWS = [("/v1/chat/completions", bad) for bad in bad_requests.CHAT]
ROWS += [("/v1/completions", bad) for bad in bad_requests.COMPLETIONS]


@pytest.mark.case("serving.30")
@pytest.mark.criterion("1.7")
async def test_each_wrong_parameter_is_named_in_the_answer(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    wrong = []
    for path, bad in ROWS:
        fields = {**BASES[path], **bad.changes}
        body = {name: value for name, value in fields.items() if value is not ...}
        reply = await call(gateway, "POST", path, key=keys.acme, body=body)
        error = reply.error
        found = (reply.status, error["type"], error["code"], error["param"])
        expected = (400, "invalid_request_error", bad.code, bad.param)
        if found != expected or bad.message not in error["message"] or set(error) != ERROR_FIELDS:
            wrong.append((path, bad, found, error["message"]))
    assert wrong == []
    assert len(ROWS) >= 100
    assert client.calls == [], "a wrong request reached a worker"


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
        (b"\xef\xbb\xbf{}", "invalid_json", "line 1"),
        (b'{"temperature": NaN}', "invalid_json", "NaN"),
        (b'{"temperature": 1e999}', "invalid_json", "out of range"),
        (b'{"n": ' + b"9" * 5000 + b"}", "invalid_json", "too long"),
        (b'{"model": "a", "model": "b"}', "duplicate_key", "'model'"),
        (b"[" * 65 + b"]" * 65, "json_too_deep", "64"),
        (b'{"a":' * 20_000, "request_too_large", "65536"),
        (b"[" * 60_000, "json_too_deep", "64"),
    ],
)
async def test_a_broken_body_is_refused_before_it_is_built(
    gateway: Gateway, keys: Keys, raw: bytes, code: str, message: str
) -> None:
    reply = await call(gateway, "POST", "/v1/chat/completions", key=keys.acme, raw=raw)
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
async def test_half_a_surrogate_pair_is_no_text(gateway: Gateway, keys: Keys, raw: bytes) -> None:
    reply = await call(gateway, "POST", "/v1/chat/completions", key=keys.acme, raw=raw)
    assert (reply.status, reply.error["code"]) == (400, "invalid_json")


@pytest.mark.criterion("6.8")
async def test_a_body_is_too_large_by_its_header_and_by_its_bytes(gateway: Gateway, keys: Keys) -> None:
    told = await call(
        gateway,
        "POST",
        "/v1/chat/completions",
        key=keys.acme,
        raw=b"{}",
        headers={"content-length": "99999999"},
    )
    streamed = await call(gateway, "POST", "/v1/chat/completions", key=keys.acme, pieces=[b"x" * 40_000] * 3)
    for reply in (told, streamed):
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")
        assert "65536" in reply.error["message"]


@pytest.mark.criterion("6.9")
async def test_a_body_that_stops_arriving_is_given_up(gateway: Gateway, keys: Keys) -> None:
    path = "/v1/chat/completions"
    reply = await call(gateway, "POST", path, key=keys.acme, raw=b'{"model":', unfinished=True)
    assert (reply.status, reply.error["code"]) == (408, "client_timeout")
    assert "0.3 s" in reply.error["message"]


async def test_a_client_that_leaves_while_sending_has_a_record(
    gateway: Gateway, keys: Keys, ended: Callable[[], Any]
) -> None:
    begun = visit(gateway, "POST", "/v1/completions", key=keys.acme, raw=b"{", unfinished=True)
    begun.leave()
    await begun.task
    record = await ended()
    assert (record.status, record.outcome, begun.reply.status) == (499, Outcome.CANCELLED, 0)


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", "/v1/chat/completions", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ("POST", "/v1/chat/completions", {"content-type": ""}, 415, "unsupported_media_type"),
        (
            "POST",
            "/v1/chat/completions",
            {"content-type": "application/json; charset=latin-1"},
            415,
            "unsupported_media_type",
        ),
        ("POST", "/v1/completions", {"content-encoding": "gzip"}, 415, "unsupported_media_type"),
        ("GET", "/v1/chat/completions", {}, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", {}, 405, "method_not_allowed"),
        ("POST", "/v1/models/tiny", {}, 405, "method_not_allowed"),
        ("POST", "/v1/chat", {}, 404, "unknown_url"),
        ("GET", "/v1/models/", {}, 404, "unknown_url"),
        ("GET", "/v1/", {}, 404, "unknown_url"),
        ("GET", "/v1/<script>\r\nx: y", {}, 404, "unknown_url"),
    ],
)
async def test_wrong_urls_methods_and_media_types_have_their_codes(
    gateway: Gateway, keys: Keys, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    reply = await call(gateway, method, path, key=keys.acme, body={}, headers=headers)
    assert (reply.status, reply.error["code"], reply.error["type"]) == (status, code, "invalid_request_error")
    assert "\r" not in reply.error["message"]
    if status == 405:
        assert reply.headers["allow"] in reply.error["message"]


async def test_unknown_and_invisible_models_are_one_and_the_same_error(gateway: Gateway, keys: Keys) -> None:
    unknown = await chat(gateway, keys.globex, model="org/nothing")
    invisible = await chat(gateway, keys.globex, model="org/private")
    assert unknown.status == invisible.status == 404
    assert unknown.error["code"] == "model_not_found"
    assert unknown.error == {
        **invisible.error,
        "message": invisible.error["message"].replace("private", "nothing"),
    }


@pytest.mark.criterion("5.2")
async def test_a_refused_request_has_one_record_and_was_never_started(
    gateway: Gateway, keys: Keys, ended: Callable[[], Any], started_facts: Callable[[], list[Any]]
) -> None:
    await chat(gateway, keys.acme, temperature=9)
    record = await ended()
    assert (record.status, record.outcome, record.error_code) == (
        400,
        Outcome.REFUSED,
        "decimal_above_max_value",
    )
    assert (record.tenant_id, record.attempt, record.endpoint) == (keys.acme_id, 0, "/v1/chat/completions")
    assert started_facts() == []
