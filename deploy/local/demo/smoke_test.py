"""A client for the launcher: health probes and one chat completion."""

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
    """The gateway did not complete the request; the text includes its response."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A streamed chat completion with the client's timings."""

    text: str
    tokens: int
    first_token_s: float
    total_s: float


def fetch_status(url: str, *, timeout_s: float = 2.0) -> int:
    """Return the HTTP status of a GET, or 0 if the server doesn't respond."""
    try:
        with _exchange("GET", url, timeout_s=timeout_s) as response:
            return response.status
    except (OSError, HTTPException):
        return 0


def fetch_body(url: str, *, timeout_s: float = 2.0) -> str:
    """Return the start of the body of a GET, whatever its status; empty if the server doesn't respond."""
    try:
        with _exchange("GET", url, timeout_s=timeout_s) as response:
            return response.read(2000).decode(errors="replace").strip()
    except (OSError, HTTPException):
        return ""


def ask(
    base_url: str, *, key: str, model: str, question: str = QUESTION, timeout_s: float = 120.0
) -> Completion:
    """Stream one chat completion. Raises SmokeTestError."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    url, body = f"{base_url}/chat/completions", json.dumps(_request(model, question)).encode()
    started_at = time.monotonic()
    try:
        with _exchange("POST", url, timeout_s=timeout_s, body=body, headers=headers) as response:
            if response.status != 200:
                text = response.read(2000).decode(errors="replace")
                raise SmokeTestError(f"the gateway responded with HTTP {response.status}: {text}")
            return _collect(_events(response), started_at)
    except (OSError, HTTPException, ValueError, KeyError) as error:
        raise SmokeTestError(f"the response was interrupted: {error!r}") from error


def _request(model: str, question: str) -> dict[str, object]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_tokens": 64,
    }


@contextmanager
def _exchange(
    method: str, url: str, *, timeout_s: float, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Iterator[HTTPResponse]:
    # http.client ignores proxy settings in the environment, which don't apply to local processes
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
    try:
        connection.request(method, parts.path, body=body, headers=dict(headers or {}))
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def _events(lines: Iterable[bytes]) -> Iterator[dict[str, object]]:
    for line in lines:
        data = line.decode().strip().removeprefix("data: ")
        if line.startswith(b"data: ") and data != "[DONE]":
            yield json.loads(data)


def _collect(events: Iterator[dict[str, object]], started_at: float) -> Completion:
    text, tokens, first_token_s = "", 0, 0.0
    for event in events:
        if event.get("error"):
            raise SmokeTestError(json.dumps(event["error"]))
        choices, usage = event.get("choices"), event.get("usage")
        for choice in choices if isinstance(choices, list) else []:
            delta = choice["delta"]
            piece = delta.get("content") or delta.get("reasoning") or ""
            if piece and not text:
                first_token_s = time.monotonic() - started_at
            text += piece
        if isinstance(usage, dict):
            tokens = int(usage["completion_tokens"])
    if not text:
        raise SmokeTestError("the response was empty")
    return Completion(text, tokens, first_token_s, time.monotonic() - started_at)
