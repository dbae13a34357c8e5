"""Drives the gateway as an ASGI server would, and records each message that it sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.gateway.app import Gateway
from tests.patience import PATIENCE_S
from tests.sdk_validation import SSE, check_answer


@dataclass
class Reply:
    """A reply as far as it has been sent; ``chunks`` are the chunks of its body."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    is_complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.document["error"]
        return error


class Connection:
    """A client's connection with one request. While ``is_reading`` is false, the gateway's sends block."""

    def __init__(
        self, gateway: Gateway, scope: dict[str, Any], chunks: list[bytes], incomplete: bool
    ) -> None:
        self._request = scope["method"], scope["path"]
        self.reply = Reply()
        self.is_reading = True
        self._progress = asyncio.Event()
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for position, chunk in enumerate(chunks, start=1):
            more = incomplete or position < len(chunks)
            self._incoming.put_nowait({"type": "http.request", "body": chunk, "more_body": more})
        self.task = asyncio.create_task(gateway(scope, self._incoming.get, self._send))

    def send_body(self, data: bytes) -> None:
        """Send more of an incomplete body."""
        self._incoming.put_nowait({"type": "http.request", "body": data, "more_body": True})

    def disconnect(self) -> None:
        """Close the client's side of the connection."""
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def finish(self) -> Reply:
        """Wait for the end of the request and return the reply."""
        async with asyncio.timeout(PATIENCE_S):
            await self.task
        self._check()
        return self.reply

    def _check(self) -> None:
        """Validate what the gateway sent, strictly."""
        reply, content_type = self.reply, self.reply.headers.get("content-type", "")
        if reply.is_complete or content_type.startswith(SSE):
            check_answer(*self._request, reply.status, content_type, reply.body)

    async def close(self) -> Reply:
        """Disconnect, wait for the end of the request and return the part of the reply that was sent."""
        self.disconnect()
        return await self.finish()

    async def wait_for(self, text: bytes) -> None:
        """Wait until the body contains ``text``. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            while text not in self.reply.body:
                self._progress.clear()
                await self._progress.wait()

    async def _send(self, message: Mapping[str, Any]) -> None:
        if not self.is_reading:
            await asyncio.Event().wait()
        if message["type"] == "http.response.start":
            assert self.reply.status == 0, "the response started twice"
            self.reply.status = message["status"]
            self.reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            assert not self.reply.is_complete, "the gateway sent a message after the end of the response"
            self.reply.chunks.append(message["body"])
            self.reply.is_complete = not message["more_body"]
        self._progress.set()


def connect(
    gateway: Gateway,
    method: str,
    path: str,
    *,
    key: str | None = None,
    body: Any = None,
    raw: bytes | None = None,
    chunks: list[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    incomplete: bool = False,
) -> Connection:
    """Start a request; ``body`` is sent as JSON, ``raw`` and ``chunks`` unchanged.

    ``incomplete``: the client announces more of the body and doesn't send it. A header of ``""`` is left out.
    """
    content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(content))}
    if chunks:
        del fields["content-length"]
    if key is not None:
        fields["authorization"] = f"Bearer {key}"
    fields.update(headers or {})
    scope = {
        "type": "http",
        "method": method,
        "path": path.partition("?")[0],
        "query_string": path.partition("?")[2].encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in fields.items() if value],
        "client": ("192.0.2.7", 50000),
    }
    return Connection(gateway, scope, chunks or [content], incomplete)


async def call(gateway: Gateway, method: str, path: str, **options: Any) -> Reply:
    """Make a request and return its reply. The options are those of ``connect``."""
    return await connect(gateway, method, path, **options).finish()
