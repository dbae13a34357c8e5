"""Applications behind the HTTP guard, served over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from api.gateway.http.exchange import PROTOCOL_ERROR
from cyllm_site.http_guard import protocol as http_guard

START = {"type": "http.response.start", "status": 200, "headers": []}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Echo the body; raise the error that the guard found in the head."""
    if (error := scope.get("extensions", {}).get(PROTOCOL_ERROR)) is not None:
        raise error
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    await send({**START, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serve(
    application: Callable[..., Any], keep_alive_s: int = 5, state: dict[str, Any] | None = None
) -> AsyncIterator[tuple[str, int, ServerState]]:
    """Serve a guarded application with a lifespan's state; yield its address and the state of the server."""
    config = uvicorn.Config(application, ws="none", log_config=None, timeout_keep_alive=keep_alive_s)
    config.load()
    server_state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: http_guard.GuardedProtocol(config, server_state, state or {}, loop), "127.0.0.1", 0
    )
    host, port = server.sockets[0].getsockname()
    try:
        yield host, port, server_state
    finally:
        for task in list(server_state.tasks):
            task.cancel()
        await asyncio.sleep(0)
        for connection in list(server_state.connections):
            connection.transport.abort()
        server.close()
        await asyncio.sleep(0.02)
