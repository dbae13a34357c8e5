"""Headers, queries and spellings of paths that clients add of their own accord have no effect."""

from __future__ import annotations

import gzip
import json

import pytest

from api.gateway.app import Gateway
from api.gateway.urls.table import URLS
from tests.gateway.conftest import Keys
from tests.gateway.harness.driver import call
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import TEXT, body_script

CHAT = "/v1/chat/completions"
BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
STAINLESS = {"lang": "js", "os": "Linux", "retry-count": "2", "timeout": "600", "helper-method": "stream"}
HEADERS: dict[str, dict[str, str]] = {
    "the official SDKs": {f"x-stainless-{name}": value for name, value in STAINLESS.items()},
    "beta features": {"openai-beta": "assistants=v2, responses=experimental"},
    "Codex": {"originator": "codex_exec", "session_id": "0", "conversation_id": "0", "version": "0.171.0"},
    "OpenRouter": {"http-referer": "https://example.org", "x-title": "An app"},
    "a browser": {"cookie": "a=b; c", "referer": "x", "sec-fetch-mode": "cors", "dnt": "1"},
    "tracing": {
        "traceparent": "00-0-0-00",
        "tracestate": "a=b",
        "baggage": "k=v",
        "idempotency-key": "x" * 255,
    },
    "any answer": {"accept": "text/html, */*;q=0.1", "accept-encoding": "zstd, br", "accept-language": "xx"},
    "events or a document": {"accept": "application/json, text/event-stream"},
    "an empty name": {"user-agent": " "},
    "a parameter": {"content-type": 'Application/JSON ; Charset="UTF-8"; odata=verbose'},
    "a vendor's type": {"content-type": "application/vnd.api+json"},
    "no coding": {"content-encoding": "identity"},
}


@pytest.mark.case("clients.13")
async def test_headers_of_clients_have_no_effect(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    for name, headers in HEADERS.items():
        client.scripts = [body_script()]
        reply = await call(gateway, "POST", CHAT, key=keys.acme, body=BODY, headers=headers)
        assert (reply.status, name) == (200, name)
        assert reply.document["choices"][0]["message"]["content"] == TEXT


@pytest.mark.case("clients.13")
@pytest.mark.parametrize("path", ["?api-version=2024-10-21", "/?", "?a=1&a=2&%FF=%00&=", "//?stream=true"])
@pytest.mark.parametrize("coding", ["", "gzip", "x-gzip"])
async def test_queries_and_slashes_have_no_effect(
    gateway: Gateway, keys: Keys, client: ScriptedClient, path: str, coding: str
) -> None:
    client.scripts = [body_script()]
    raw = b"\xef\xbb\xbf \r\n" + json.dumps(BODY).encode() + b"\r\n"
    reply = await call(
        gateway,
        "POST",
        CHAT + path,
        key=keys.acme,
        raw=gzip.compress(raw) if coding else raw,
        headers={"content-encoding": coding},
    )
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")


@pytest.mark.case("clients.13")
@pytest.mark.parametrize("spelling", ["{}/", "/{}", "{}//?a=b"])
async def test_every_route_answers_options_however_it_is_spelled(gateway: Gateway, spelling: str) -> None:
    for route in URLS.routes:
        reply = await call(gateway, "OPTIONS", spelling.format(route.path_template))
        assert (reply.status, reply.body) == (204, b"")
        assert {route.method, "OPTIONS"} <= set(reply.headers["allow"].split(", "))
