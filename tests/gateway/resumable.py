"""What tests of resumable streams share: a scripted stream, its events, and readers of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from api.gateway.app import Gateway
from tests.gateway.driver import CHAT, Reply, Visit, call, visit
from tests.gateway.scripted import Pause, Script, accepted, delta, done, finished

WORDS = ("one ", "two ", "three ", "four ", "five ")
CONTINUE = {"stream": True, "stream_options": {"on_disconnect": "continue"}}


def script(*, gap_s: float = 0.0) -> Script:
    """A stream of the words; some of them arrive together."""
    first, second, *rest = [delta(word) for word in WORDS]
    return [
        accepted(),
        Pause(gap_s),
        [first, second],
        Pause(gap_s),
        *rest,
        Pause(gap_s),
        [done(), finished()],
    ]


@dataclass(frozen=True)
class Numbered:
    """One event of a stream as its client sees it."""

    number: int
    data: str


def numbered(body: bytes) -> list[Numbered]:
    """The events of a body that consists of whole events and comments."""
    *events, rest = body.decode().split("\n\n")
    assert rest == ""
    found = []
    for event in events:
        if event.startswith(":"):
            continue
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        found.append(Numbered(int(fields["id"]), fields["data"]))
    return found


def text_of(events: list[Numbered]) -> str:
    """The text of a chat stream."""
    chunks = [json.loads(event.data) for event in events if event.data != "[DONE]"]
    return "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks if "choices" in chunk)


def begin(gateway: Gateway, key: str, **changes: Any) -> Visit:
    """A chat request that goes on without its client."""
    return visit(gateway, "POST", "/v1/chat/completions", key=key, body={**CHAT, **CONTINUE, **changes})


async def whole(gateway: Gateway, key: str, **changes: Any) -> Reply:
    """Such a request, read to its end."""
    begun = begin(gateway, key, **changes)
    await begun.task
    return begun.reply


async def resume(gateway: Gateway, key: str, stream_id: str, after: int | None = None) -> Reply:
    """A stream again, from the event behind ``after`` on."""
    query = "" if after is None else f"?starting_after={after}"
    return await call(gateway, "GET", f"/v1/streams/{stream_id}{query}", key=key)
