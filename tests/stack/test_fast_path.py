"""The fast path for plain text streams has the output of vLLM's own application."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

import pytest

from tests.stack.conftest import OwnedStack
from tests.stacks import wait_until

# A field at its default that the fast path does not support: the same response by vLLM's application.
SLOW_PATH = {"skip_special_tokens": True}


def _stream(stack: OwnedStack, route: str, body: dict[str, Any], request_id: str = "") -> list[bytes]:
    headers = {"X-Request-ID": request_id} if request_id else {}
    with (
        stack.client() as client,
        client.stream("POST", route, json={**body, "stream": True}, headers=headers) as response,
    ):
        assert response.status_code == 200, response.read()
        data = b"".join(response.iter_raw())
    return [part for part in data.split(b"\n\n") if part]


def _fast_path_chunks(stack: OwnedStack, request_id: str) -> int:
    """Return the number of chunks on the fast path, from the worker's log."""
    counts: list[str] = []

    def logged() -> bool:
        counts[:] = re.findall(rf"\[{request_id}\] (\d+) chunks took the fast path", stack.log("worker"))
        return bool(counts)

    wait_until(logged, "the worker has logged it")
    return int(counts[0])


def _form(event: bytes) -> bytes:
    """Return the bytes of a chunk without its text, id and time."""
    event = re.sub(rb'"id":"[^"]*"|"created":\d+', b"", event)
    return re.sub(rb'"(content|text)":"(?:[^"\\]|\\.)*"', b"", event)


def _text(events: list[bytes]) -> str:
    text = ""
    for event in events[:-1]:
        for choice in json.loads(event[6:])["choices"]:
            text += choice.get("text") or choice.get("delta", {}).get("content") or ""
    return text


@pytest.mark.criterion("1.3")
@pytest.mark.parametrize("usage", [True, False])
@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions"])
def test_the_fast_path_has_the_same_text_and_chunks_of_the_same_form(
    ready_stack: OwnedStack, route: str, usage: bool
) -> None:
    body: dict[str, Any] = {
        "model": "tiny",
        "max_tokens": 200,
        "temperature": 0,
        "ignore_eos": True,
        "stream_options": {"include_usage": usage},
    }
    if route.endswith("chat/completions"):
        body["messages"] = [{"role": "user", "content": "说点什么 😀"}]
    else:
        body["prompt"] = "说点什么 😀"
    request_id = f"fast-{secrets.token_hex(4)}"
    fast = _stream(ready_stack, route, body, request_id)
    slow = _stream(ready_stack, route, {**body, **SLOW_PATH})
    assert _fast_path_chunks(ready_stack, request_id) > 50
    assert _text(fast) == _text(slow)
    assert {_form(event) for event in fast} == {_form(event) for event in slow}
    assert _form(fast[-2]) == _form(slow[-2])
    assert fast[-1] == slow[-1] == b"data: [DONE]"
    assert len(fast) > 50
    if usage:
        assert json.loads(fast[-2][6:])["usage"]["completion_tokens"] == 200


def test_a_stop_string_ends_the_fast_path_at_the_same_character(ready_stack: OwnedStack) -> None:
    body = {"model": "tiny", "prompt": "sea", "max_tokens": 60, "temperature": 0, "ignore_eos": True}
    whole = _text(_stream(ready_stack, "/v1/completions", body))
    stop = whole[len(whole) // 2 : len(whole) // 2 + 6]
    with_stop = {**body, "stop": [stop]}
    fast = _stream(ready_stack, "/v1/completions", with_stop)
    slow = _stream(ready_stack, "/v1/completions", {**with_stop, **SLOW_PATH})
    assert _text(fast) == _text(slow) == whole[: whole.index(stop)]
    assert b'"finish_reason":"stop"' in fast[-2]
