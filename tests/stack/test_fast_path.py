"""The short way for plain text gives what vLLM's own application gives."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

import pytest

from tests.stack.conftest import OwnedStack
from tests.stacks import wait_until

# A field at its default that is not on the sink's list: the same answer by vLLM's own way.
LONG_WAY = {"skip_special_tokens": True}


def _stream(stack: OwnedStack, route: str, body: dict[str, Any], request_id: str = "") -> list[bytes]:
    headers = {"X-Request-ID": request_id} if request_id else {}
    with (
        stack.client() as client,
        client.stream("POST", route, json={**body, "stream": True}, headers=headers) as response,
    ):
        assert response.status_code == 200, response.read()
        data = b"".join(response.iter_raw())
    return [part for part in data.split(b"\n\n") if part]


def _short_pieces(stack: OwnedStack, request_id: str) -> int:
    """How many pieces the worker's log says took the short way."""
    found: list[str] = []

    def logged() -> bool:
        found[:] = re.findall(rf"\[{request_id}\] (\d+) chunks took the fast path", stack.log("worker"))
        return bool(found)

    wait_until(logged, 5, "the worker has logged it")
    return int(found[0])


def _form(event: bytes) -> bytes:
    """The bytes of a piece without its text, id and time."""
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
def test_both_ways_give_the_same_text_and_pieces_of_the_same_form(
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
    request_id = f"short-{secrets.token_hex(4)}"
    short = _stream(ready_stack, route, body, request_id)
    long = _stream(ready_stack, route, {**body, **LONG_WAY})
    assert _short_pieces(ready_stack, request_id) > 50
    assert _text(short) == _text(long)
    assert {_form(event) for event in short} == {_form(event) for event in long}
    assert _form(short[-2]) == _form(long[-2])
    assert short[-1] == long[-1] == b"data: [DONE]"
    assert len(short) > 50
    if usage:
        assert json.loads(short[-2][6:])["usage"]["completion_tokens"] == 200


def test_a_stop_string_ends_the_short_way_where_it_ends_the_long_one(ready_stack: OwnedStack) -> None:
    body = {"model": "tiny", "prompt": "sea", "max_tokens": 60, "temperature": 0, "ignore_eos": True}
    whole = _text(_stream(ready_stack, "/v1/completions", body))
    stop = whole[len(whole) // 2 : len(whole) // 2 + 6]
    with_stop = {**body, "stop": [stop]}
    short = _stream(ready_stack, "/v1/completions", with_stop)
    long = _stream(ready_stack, "/v1/completions", {**with_stop, **LONG_WAY})
    assert _text(short) == _text(long) == whole[: whole.index(stop)]
    assert b'"finish_reason":"stop"' in short[-2]
