"""Reads resumable streams, disconnects, and resumes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

CONTINUE = {"on_disconnect": "continue", "include_usage": True}
Event = tuple[int, str]


def read(response: httpx.Response, until: int | None = None) -> Iterator[Event]:
    """Yield number and data of each event of a stream, optionally only up to one of them."""
    number = -1
    for line in response.iter_lines():
        if line.startswith("id: "):
            number = int(line.removeprefix("id: "))
        elif line.startswith("data: "):
            yield number, line.removeprefix("data: ")
            if number == until:
                return


def begin(
    client: httpx.Client, body: dict[str, Any], path: str = "/v1/chat/completions", until: int | None = None
) -> tuple[str, str, list[Event]]:
    """Read a stream up to an event and disconnect. Returns stream id, request id and events."""
    with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        events = list(read(response, until))
        return response.headers["x-stream-id"], response.headers["x-request-id"], events


def resume(client: httpx.Client, path: str) -> list[Event]:
    """Resume a stream and return the remaining events."""
    with client.stream("GET", path) as response:
        assert response.status_code == 200, response.read()
        return list(read(response))


def text_of(events: list[Event]) -> str:
    """Return the text of a chat stream."""
    chunks = [json.loads(data) for _, data in events if data != "[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)
