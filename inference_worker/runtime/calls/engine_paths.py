"""The routes of an engine's application, and how one of them is called without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.engine import AsgiApplication, Message

ROUTES: Mapping[Operation, str] = {
    Operation.CHAT_COMPLETIONS: "/v1/chat/completions",
    Operation.COMPLETIONS: "/v1/completions",
    Operation.EMBEDDINGS: "/v1/embeddings",
    Operation.TOKENIZE: "/tokenize",
    Operation.DETOKENIZE: "/detokenize",
}


def scope_of(operation: Operation, engine_id: str) -> Message:
    """The ASGI scope of a call that the engine knows under this id."""
    path = ROUTES[operation]
    return {
        "type": "http",
        # From 2.4 on, Starlette notices a disconnect only when it sends; before, it listens for it.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"x-request-id", engine_id.encode())],
        "client": ("gateway", 0),
        "server": ("worker", 0),
        "state": {},
    }


async def ask(
    app: AsgiApplication, operation: Operation, body: Mapping[str, Any], engine_id: str
) -> tuple[int, bytes]:
    """Status and body of one call by the worker itself."""
    status = 0
    answer = bytearray()
    pending = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Message:
        if pending:
            return pending.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        answer.extend(message.get("body", b""))

    await app(scope_of(operation, engine_id), receive, send)
    return status, bytes(answer)
