"""What tests of responses share: scripts of chat chunks, and readers of events."""

from __future__ import annotations

import json
from typing import Any

from api.gateway.app import Gateway
from inference_worker.protocol.messages import Delta
from tests.gateway.driver import Reply, Visit, call, visit
from tests.gateway.scripted import Pause, Script, accepted, done, event_of, finished

PATH = "/v1/responses"
WORDS = ("one ", "two ", "three ", "four")
USAGE = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}


def chunk(delta: dict[str, Any] | None = None, *, finish: str | None = None, **fields: Any) -> Delta:
    """A chunk of a chat stream."""
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}] if "usage" not in fields else []
    data = event_of({"id": "chatcmpl-1", "choices": choices, **fields})
    return Delta(request_id="", attempt=1, index=0, data=data)


def script(*, gap_s: float = 0.0, words: tuple[str, ...] = WORDS) -> Script:
    """A whole answer."""
    texts = [step for word in words for step in (Pause(gap_s), chunk({"content": word}))]
    return [
        accepted(),
        chunk({"role": "assistant", "content": ""}),
        *texts,
        chunk(finish="stop"),
        [chunk(usage=USAGE), done(), finished()],
    ]


async def respond(gateway: Gateway, key: str, **fields: Any) -> Reply:
    """A request for a response, to its end."""
    return await call(gateway, "POST", PATH, key=key, body={"model": "tiny", "input": "hello", **fields})


def begin(gateway: Gateway, key: str, **fields: Any) -> Visit:
    """Such a request, begun."""
    return visit(gateway, "POST", PATH, key=key, body={"model": "tiny", "input": "hello", **fields})


async def retrieve(gateway: Gateway, key: str, response_id: str, query: str = "") -> Reply:
    """A stored response."""
    return await call(gateway, "GET", f"{PATH}/{response_id}{query}", key=key)


def events_of(body: bytes) -> list[dict[str, Any]]:
    """The events, whose name and id have to be those in their data."""
    *pieces, rest = body.decode().split("\n\n")
    assert rest == ""
    found = []
    for piece in pieces:
        if piece.startswith(":"):
            continue
        fields = dict(line.split(": ", 1) for line in piece.split("\n"))
        event = json.loads(fields["data"])
        assert event["type"] == fields["event"]
        assert "id" not in fields or int(fields["id"]) == event["sequence_number"]
        found.append(event)
    return found


def text_of(response: dict[str, Any]) -> str:
    """The text of a response."""
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)
