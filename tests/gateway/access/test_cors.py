"""Pages of other origins may use the API if the operator allows it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from api.gateway.app import Gateway
from api.gateway.cors import EXPOSED
from api.gateway.settings import Limits
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import CHAT, body_for, resumable_chat
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.gateways import with_limits
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import chat_script

APP = "https://app.example"
OTHER = "https://other.example"
REQUESTED = "authorization,content-type,x-stainless-lang,x-request-id"
ALLOW, EXPOSE = "access-control-allow-origin", "access-control-expose-headers"


async def _preflight(gateway: Gateway, origin: str, path: str = CHAT, method: str = "POST") -> Reply:
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": REQUESTED,
        "content-type": "",
    }
    return await call(gateway, "OPTIONS", path, headers=headers)


async def _chat(gateway: Gateway, key: str | None, origin: str, **changes: object) -> Reply:
    return await call(
        gateway, "POST", CHAT, key=key, body=body_for(CHAT, **changes), headers={"origin": origin}
    )


@pytest.mark.case("clients.12", "admin.5")
@pytest.mark.parametrize(
    "allowed_origin", [APP, f"http://localhost:3000, {APP}/", "HTTPS://APP.EXAMPLE:443", "*"]
)
@pytest.mark.parametrize(
    "path", [CHAT, "/v1/models", "/v1/chat/completions/", "/v1/responses/resp_x", "/v1/no"]
)
async def test_an_allowed_origin_needs_no_key_for_a_preflight(
    gateway: Gateway, allowed_origin: str, path: str
) -> None:
    gateway = with_limits(gateway, allowed_origins=allowed_origin)
    reply = await _preflight(gateway, APP, path)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers[ALLOW] == ("*" if allowed_origin == "*" else APP)
    assert reply.headers["access-control-allow-headers"] == REQUESTED
    assert {"GET", "POST", "DELETE"} <= set(reply.headers["access-control-allow-methods"].split(", "))
    assert int(reply.headers["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.case("clients.12")
@pytest.mark.parametrize("allowed_origin", [APP, "*"])
async def test_responses_errors_and_streams_can_be_read(
    gateway: Gateway, keys: Keys, client: ScriptedClient, allowed_origin: str
) -> None:
    gateway = with_limits(gateway, allowed_origins=allowed_origin)
    client.scripts = [chat_script()]
    replies = [
        await _chat(gateway, keys.acme, APP, stream=True),
        await _chat(gateway, None, APP),
        await _chat(gateway, keys.acme, APP, model="none"),
        await call(gateway, "GET", "/v1/none", headers={"origin": APP}),
        await call(gateway, "PUT", CHAT, headers={"origin": APP}),
        await call(gateway, "GET", "/health/live", headers={"origin": APP}),
    ]
    assert [reply.status for reply in replies] == [200, 401, 404, 404, 405, 200]
    for reply in replies:
        assert reply.headers[ALLOW] == ("*" if allowed_origin == "*" else APP)
        assert {"x-request-id", "retry-after", "x-stream-id"} <= set(reply.headers[EXPOSE].split(", "))
        assert reply.headers.get("vary") == (None if allowed_origin == "*" else "Origin")


@pytest.mark.case("clients.12")
async def test_a_resumable_stream_can_be_read_and_its_id_as_well(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [chat_script()]
    reply = await resumable_chat(with_limits(gateway, allowed_origins="*"), keys.acme)
    assert reply.headers["x-stream-id"]
    assert ALLOW not in reply.headers, "a request without an origin comes from no page"


@pytest.mark.case("clients.12")
@pytest.mark.parametrize("allowed_origin", ["", APP])
async def test_other_origins_are_served_as_before_but_unreadable(
    gateway: Gateway, keys: Keys, allowed_origin: str
) -> None:
    gateway = with_limits(gateway, allowed_origins=allowed_origin)
    for origin in (OTHER, "null", APP + ".evil.example", "http://app.example"):
        preflight = await _preflight(gateway, origin)
        assert (preflight.status, preflight.headers["allow"]) == (204, "OPTIONS, POST")
        reply = await _chat(gateway, keys.acme, origin, model="none")
        assert reply.status == 404
        for headers in (preflight.headers, reply.headers):
            assert not [name for name in headers if name.startswith("access-control")]
            assert headers.get("vary") == ("Origin" if allowed_origin else None)


async def test_a_preflight_never_repeats_what_is_no_list_of_names(gateway: Gateway) -> None:
    headers = {
        "origin": APP,
        "access-control-request-method": "POST",
        "access-control-request-headers": 'a"\x7f<script>',
    }
    reply = await call(with_limits(gateway, allowed_origins="*"), "OPTIONS", CHAT, headers=headers)
    assert (reply.status, "access-control-allow-headers" in reply.headers) == (204, False)


@pytest.mark.parametrize(
    "origin", [APP, "http://[::1]:8080", "tauri://localhost", "app://obsidian.md", "null"]
)
async def test_origins_of_every_scheme_can_be_allowed(gateway: Gateway, origin: str) -> None:
    gateway = with_limits(gateway, allowed_origins=f" {origin} ,http://localhost")
    assert (await _preflight(gateway, origin)).headers[ALLOW] == origin


@pytest.mark.parametrize(
    "text", ["app.example", "https://app.example/path", "https://*.example", "https://", "a b"]
)
def test_a_setting_that_is_no_list_of_origins_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        Limits(allowed_origins=text)


def test_every_header_is_exposed_to_requests_without_credentials() -> None:
    assert EXPOSED.endswith(", *")
