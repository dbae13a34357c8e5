"""Chat requests, and their streams as a client reads them."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.patience import PATIENCE_S
from tests.stacks import RunningStack


@dataclass
class Reply:
    """A response as it arrived."""

    status: int = 0
    request_id: str = ""
    text: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    is_done: bool = False
    ended_at: float = 0.0


def chat(model: str, content: str, max_tokens: int = 32, **fields: Any) -> dict[str, Any]:
    """Return a streamed chat request that generates exactly ``max_tokens`` tokens on a real engine."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "ignore_eos": True,
        **fields,
    }


def add_line(reply: Reply, line: str) -> None:
    """Add one line of a stream."""
    if line == "data: [DONE]":
        reply.is_done = True
    elif line.startswith("data: "):
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            reply.error = event["error"]
            return
        reply.events.append(event)
        for choice in event["choices"]:
            reply.text += choice["delta"].get("content") or ""


def receive(client: httpx.Client, body: dict[str, Any], reply: Reply | None = None) -> Reply:
    """Send a chat request and read its response, an error too, to the end."""
    reply = reply if reply is not None else Reply()
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        reply.status = response.status_code
        reply.request_id = response.headers["x-request-id"]
        if response.headers["content-type"].startswith("application/json"):
            document = json.loads(response.read())
            reply.error = document.get("error")
            reply.text = document["choices"][0]["message"]["content"] if "choices" in document else ""
        else:
            for line in response.iter_lines():
                add_line(reply, line)
    reply.ended_at = time.monotonic()
    return reply


class ClientThread(threading.Thread):
    """A client in a separate thread."""

    def __init__(self, stack: RunningStack, body: dict[str, object]) -> None:
        super().__init__(daemon=True)
        self.reply = Reply()
        self.connection_error: Exception | None = None
        self._stack, self._body = stack, body
        self.start()

    def run(self) -> None:
        try:
            with self._stack.client() as client:
                receive(client, self._body, self.reply)
        except httpx.HTTPError as error:
            self.connection_error = error
            self.reply.ended_at = time.monotonic()

    def wait(self) -> Reply:
        self.join(PATIENCE_S)
        assert not self.is_alive(), f"no end within {PATIENCE_S} s: {self.reply}"
        return self.reply
