"""Parsers of event streams."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """A server-sent event. ``number`` is its id, or -1 if it has none; ``name`` can be empty."""

    data: str
    number: int = -1
    name: str = ""

    @property
    def document(self) -> Any:
        """The JSON document in ``data``, or ``[DONE]``."""
        return self.data if self.data == "[DONE]" else json.loads(self.data)


def parse_events(body: bytes) -> list[Event]:
    """Return the events of a body, which must consist of whole events and comments."""
    lines = [line for line in body.decode().splitlines(keepends=True) if not line.startswith(":")]
    *blocks, remainder = "".join(lines).split("\n\n")
    assert remainder == "", "the body doesn't end with a whole event"
    return [_parse_event(block) for block in blocks]


def _parse_event(block: str) -> Event:
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    assert fields.keys() <= {"data", "id", "event"}
    return Event(fields["data"], int(fields.get("id", -1)), fields.get("event", ""))


def documents_of(body: bytes) -> list[Any]:
    """Return the documents of all events in a body."""
    return [event.document for event in parse_events(body)]


def numbered_events(body: bytes) -> list[Event]:
    """Return the events of a resumable stream. Each must have an id."""
    events = parse_events(body)
    assert all(event.number >= 0 for event in events), "an event has no id"
    return events


def response_events(body: bytes) -> list[dict[str, Any]]:
    """Return the documents of a response's events, whose names and ids must agree with them."""
    events = parse_events(body)
    for event in events:
        assert event.name == event.document["type"]
        assert event.number in (-1, event.document["sequence_number"])
    return [event.document for event in events]


def chat_text(events: list[Event]) -> str:
    """Return the text of a chat stream."""
    chunks = [event.document for event in events if event.data != "[DONE]"]
    return "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks if "choices" in chunk)


def response_text(response: dict[str, Any]) -> str:
    """Return the text of a response."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for message in messages for part in message["content"])
