"""Calls to an engine's ASGI application without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from inference_worker.protocol.messages import Operation
from inference_worker.protocol.operations import OPERATION_SPECS
from inference_worker.runtime.calls.engine import AsgiApplication, Message


def engine_scope(operation: Operation, engine_id: str) -> Message:
    """Return the ASGI scope of a request with this id at the engine."""
    path = OPERATION_SPECS[operation].path
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


async def call_engine(
    app: AsgiApplication, operation: Operation, body: Mapping[str, Any], engine_id: str
) -> tuple[int, bytes]:
    """Make a request of the worker's own and return status and body of the response."""
    status = 0
    response = bytearray()
    pending = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Message:
        if pending:
            return pending.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        response.extend(message.get("body", b""))

    await app(engine_scope(operation, engine_id), receive, send)
    return status, bytes(response)
