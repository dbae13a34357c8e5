"""Reads streams as a client does, and gives back text, errors and times."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Heard:
    """One answer as it arrived."""

    status: int = 0
    request_id: str = ""
    text: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    done: bool = False
    ended_at: float = 0.0


def chat(model: str, content: str, max_tokens: int = 32, **fields: Any) -> dict[str, Any]:
    """A streamed chat request that makes exactly ``max_tokens`` tokens on a real engine."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "ignore_eos": True,
        **fields,
    }


def take_line(heard: Heard, line: str) -> None:
    """Add one line of a stream to what was heard."""
    if line == "data: [DONE]":
        heard.done = True
    elif line.startswith("data: "):
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            heard.error = event["error"]
            return
        heard.events.append(event)
        for choice in event["choices"]:
            heard.text += choice["delta"].get("content") or ""


def listen(client: httpx.Client, body: dict[str, Any], heard: Heard | None = None) -> Heard:
    """Send a chat request and hear it to its end, whatever it is."""
    heard = heard if heard is not None else Heard()
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        heard.status = response.status_code
        heard.request_id = response.headers["x-request-id"]
        if response.headers["content-type"].startswith("application/json"):
            document = json.loads(response.read())
            heard.error = document.get("error")
            heard.text = document["choices"][0]["message"]["content"] if "choices" in document else ""
        else:
            for line in response.iter_lines():
                take_line(heard, line)
    heard.ended_at = time.monotonic()
    return heard
