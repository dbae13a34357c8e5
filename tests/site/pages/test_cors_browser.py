"""A page of another origin uses the API in a real browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from api.gateway.app import Gateway
from api.gateway.cors import STATE, cors_policy
from api.gateway.settings import Limits
from tests.browser import open_browser
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.conftest import client as client
from tests.gateway.conftest import gateway as gateway
from tests.gateway.conftest import keys as keys
from tests.gateway.harness.calls import BODIES, CHAT, RESUMABLE
from tests.gateway.harness.gateways import with_limits
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import TEXT, chat_script
from tests.site.harness.guarded import START, serve

ASK = """async ([url, key, body, padding]) => {
  const fields = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  fields['x-stainless-lang'] = 'js';
  if (padding) fields['x-padding'] = 'x'.repeat(padding);
  try {
    const response = await fetch(url, { method: 'POST', headers: fields, body: JSON.stringify(body) });
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let text = '', pieces = 0;
    for (let piece; !(piece = await reader.read()).done; pieces++) text += decoder.decode(piece.value);
    const headers = ['x-request-id', 'x-stream-id'].map((name) => response.headers.get(name));
    return { status: response.status, text, pieces, headers };
  } catch (error) {
    return { status: 0, text: String(error) };
  }
}"""


@pytest.fixture
def limits() -> Limits:
    return LONG_LIMITS


async def _page(scope: Any, receive: Any, send: Any) -> None:
    await send({**START, "headers": [(b"content-type", b"text/html"), (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@pytest_asyncio.fixture
async def page() -> AsyncIterator[Any]:
    """An empty page on an origin of its own."""
    async with serve(_page) as (host, port, _), open_browser() as browser:
        page = await browser.new_page()
        await page.goto(f"http://{host}:{port}/")
        yield page


async def _ask(page: Any, url: str, key: str, padding: int = 0, **changes: object) -> dict[str, Any]:
    result: dict[str, Any] = await page.evaluate(ASK, [url + CHAT, key, {**BODIES[CHAT], **changes}, padding])
    return result


@pytest.mark.case("clients.12")
async def test_a_page_of_an_allowed_origin_reads_streams_and_errors(
    gateway: Gateway, keys: Keys, client: ScriptedClient, page: Any
) -> None:
    origin = await page.evaluate("location.origin")
    client.scripts = [chat_script(gap_s=0.1)]
    gateway = with_limits(gateway, allowed_origins=origin)
    async with serve(gateway, state={STATE: cors_policy(origin)}) as (host, port, _):
        url = f"http://{host}:{port}"
        stream = await _ask(page, url, keys.acme, **RESUMABLE)
        refusal = await _ask(page, url, "sk-cy-wrong-key")
    assert stream["status"] == 200
    assert stream["pieces"] > 1
    assert TEXT.split()[0] in stream["text"]
    assert all(stream["headers"])
    assert (refusal["status"], "invalid_api_key" in refusal["text"]) == (401, True)


@pytest.mark.case("clients.12")
async def test_a_page_reads_the_errors_of_the_http_guard(gateway: Gateway, keys: Keys, page: Any) -> None:
    gateway = with_limits(gateway, allowed_origins="*")
    async with serve(gateway, state={STATE: cors_policy("*")}) as (host, port, _):
        result = await _ask(page, f"http://{host}:{port}", keys.acme, padding=70_000)
    assert (result["status"], "headers_too_large" in result["text"]) == (431, True)


@pytest.mark.case("clients.12")
async def test_a_page_of_another_origin_reads_nothing(
    gateway: Gateway, keys: Keys, client: ScriptedClient, page: Any
) -> None:
    client.scripts = [chat_script()]
    gateway = with_limits(gateway, allowed_origins="https://app.example")
    async with serve(gateway) as (host, port, _):
        result = await _ask(page, f"http://{host}:{port}", keys.acme)
    assert (result["status"], "Failed to fetch" in result["text"]) == (0, True)
    assert client.calls == [], "the browser asked first"
