"""Drives an ASGI application as a server would, and sees each message that it sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.gateway.app import Gateway


@dataclass
class Reply:
    """What has been sent so far; ``pieces`` are the body's chunks in order."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.document["error"]
        return error


class Visit:
    """One request in progress; ``leave`` closes the connection, ``stuck`` is a client that doesn't read."""

    def __init__(
        self, gateway: Gateway, scope: dict[str, Any], pieces: list[bytes], unfinished: bool
    ) -> None:
        self.reply = Reply()
        self.changed = asyncio.Event()
        self.stuck = False
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for position, piece in enumerate(pieces):
            more = unfinished or position + 1 < len(pieces)
            self._incoming.put_nowait({"type": "http.request", "body": piece, "more_body": more})
        self.task = asyncio.create_task(gateway(scope, self._incoming.get, self._send))

    def leave(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def until(self, text: bytes, timeout_s: float = 5.0) -> None:
        """Wait until the body holds ``text``."""
        async with asyncio.timeout(timeout_s):
            while text not in self.reply.body:
                self.changed.clear()
                await self.changed.wait()

    async def _send(self, message: Mapping[str, Any]) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        if message["type"] == "http.response.start":
            assert self.reply.status == 0, "the response started twice"
            self.reply.status = message["status"]
            self.reply.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            assert not self.reply.complete, "something was sent after the end"
            self.reply.pieces.append(message["body"])
            self.reply.complete = not message["more_body"]
        self.changed.set()


def visit(
    gateway: Gateway,
    method: str,
    path: str,
    *,
    key: str | None = None,
    body: Any = None,
    raw: bytes | None = None,
    pieces: list[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    unfinished: bool = False,
) -> Visit:
    """Begin a request; ``body`` is sent as JSON, ``raw`` and ``pieces`` as they are.

    ``unfinished``: the client promises more of the body and doesn't send it.
    """
    sent = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    named = {"content-type": "application/json", "content-length": str(len(sent))}
    if pieces:
        del named["content-length"]
    if key is not None:
        named["authorization"] = f"Bearer {key}"
    named.update(headers or {})
    scope = {
        "type": "http",
        "method": method,
        "path": path.partition("?")[0],
        "query_string": path.partition("?")[2].encode(),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in named.items() if v],
        "client": ("192.0.2.7", 50000),
    }
    return Visit(gateway, scope, pieces or [sent], unfinished)


async def call(gateway: Gateway, method: str, path: str, **options: Any) -> Reply:
    """A request from beginning to end."""
    begun = visit(gateway, method, path, **options)
    async with asyncio.timeout(20):
        await begun.task
    return begun.reply


CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


async def chat(gateway: Gateway, key: str, **changes: Any) -> Reply:
    """A chat request with the changes given."""
    return await call(gateway, "POST", "/v1/chat/completions", key=key, body={**CHAT, **changes})
