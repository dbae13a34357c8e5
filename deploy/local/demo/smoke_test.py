"""The stack as a client sees it: health probes and one chat request."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import urlsplit

QUESTION = "What is the capital of France?"


class SmokeTestError(Exception):
    """The gateway did not answer the question; the text holds what it said."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A streamed answer and its times, as the client saw them."""

    text: str
    completion_tokens: int
    first_token_s: float
    total_s: float


@contextmanager
def _exchange(
    method: str, url: str, *, timeout_s: float, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Iterator[HTTPResponse]:
    # http.client takes no proxy from the environment, which has no business between two local processes
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
    try:
        connection.request(method, parts.path, body=body, headers=dict(headers or {}))
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def status_of(url: str, *, timeout_s: float = 2.0) -> int:
    """The HTTP status of a GET, 0 if nobody answers."""
    try:
        with _exchange("GET", url, timeout_s=timeout_s) as response:
            return response.status
    except (OSError, HTTPException):
        return 0


def said_by(url: str, *, timeout_s: float = 2.0) -> str:
    """The beginning of what a GET is answered with, whatever its status; empty if nobody answers."""
    try:
        with _exchange("GET", url, timeout_s=timeout_s) as response:
            return response.read(2000).decode(errors="replace").strip()
    except (OSError, HTTPException):
        return ""


def ask(base_url: str, *, key: str, model: str, question: str = QUESTION, timeout_s: float = 120.0) -> Answer:
    """One streamed chat completion. Raises SmokeTestError."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_tokens": 64,
    }
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    url = f"{base_url}/chat/completions"
    began = time.monotonic()
    try:
        with _exchange(
            "POST", url, timeout_s=timeout_s, body=json.dumps(body).encode(), headers=headers
        ) as response:
            if response.status != 200:
                said = response.read(2000).decode(errors="replace")
                raise SmokeTestError(f"the gateway answered with HTTP {response.status}: {said}")
            return _read(_events(response), began)
    except (OSError, HTTPException, ValueError, KeyError) as error:
        raise SmokeTestError(f"the answer broke off: {error!r}") from error


def _events(lines: Iterable[bytes]) -> Iterator[dict[str, object]]:
    for line in lines:
        data = line.decode().strip().removeprefix("data: ")
        if line.startswith(b"data: ") and data != "[DONE]":
            yield json.loads(data)


def _read(events: Iterator[dict[str, object]], began: float) -> Answer:
    text, tokens, first_token_s = "", 0, 0.0
    for event in events:
        if event.get("error"):
            raise SmokeTestError(json.dumps(event["error"]))
        choices, usage = event.get("choices"), event.get("usage")
        for choice in choices if isinstance(choices, list) else []:
            delta = choice["delta"]
            piece = delta.get("content") or delta.get("reasoning") or ""
            if piece and not text:
                first_token_s = time.monotonic() - began
            text += piece
        if isinstance(usage, dict):
            tokens = int(usage["completion_tokens"])
    if not text:
        raise SmokeTestError("the answer was empty")
    return Answer(text, tokens, first_token_s, time.monotonic() - began)
