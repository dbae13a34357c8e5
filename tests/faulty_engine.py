"""An engine with OpenAI's API that fails on demand: ``python -m tests.faulty_engine PORT [SCRIPT]``.

The last user message is the script of its response, such as ``pieces=20 gap=0.1`` or ``hang_first`` (see
``Script``), unless the command line has one for every request. Only for tests in which a real engine can't be
made to fail at a chosen moment.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

OPEN_REQUESTS: set[int] = set()
REQUEST_BODIES: list[dict[str, Any]] = []


class Script:
    """Chunks ``pieces=N``, delays ``gap=S first=S``, and flags.

    The flags: ``hang_first hang_mid error_400 error_500 error_mid cut_mid refuse_late``.
    """

    def __init__(self, text: str) -> None:
        options = dict(option.partition("=")[::2] for option in text.split())
        self.pieces = int(options.get("pieces", 3))
        self.gap_s = float(options.get("gap", 0))
        self.first_s = float(options.get("first", 0))
        self.flags = set(options)


def _script(body: dict[str, Any]) -> Script:
    if len(sys.argv) > 2:
        return Script(sys.argv[2])
    messages = body.get("messages")
    return Script(messages[-1]["content"] if messages else body["prompt"])


def _usage(script: Script) -> dict[str, int]:
    return {
        "prompt_tokens": 7,
        "completion_tokens": script.pieces,
        "total_tokens": 7 + script.pieces,
    }


def _completion(body: dict[str, Any], script: Script) -> dict[str, Any]:
    text = "".join(f"w{n} " for n in range(script.pieces))
    return {
        "id": "upstream-id",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": _usage(script),
    }


def _event(body: dict[str, Any], **fields: Any) -> str:
    created_at, model = int(time.time()), body["model"]
    chunk = {
        "id": "upstream-id",
        "object": "chat.completion.chunk",
        "created": created_at,
        "model": model,
    } | fields
    return f"data: {json.dumps(chunk)}\n\n"


async def _events(body: dict[str, Any], script: Script) -> AsyncIterator[str]:
    token = id(script)
    OPEN_REQUESTS.add(token)
    try:
        await asyncio.sleep(3600 if "hang_first" in script.flags else script.first_s)
        if "refuse_late" in script.flags:
            yield 'data: {"error": {"message": "Token id 9 is out of vocabulary", "code": 400}}\n\n'
            yield "data: [DONE]\n\n"
            return
        for n in range(script.pieces):
            if n == script.pieces // 2:
                if "hang_mid" in script.flags:
                    await asyncio.sleep(3600)
                if "cut_mid" in script.flags:
                    raise ConnectionResetError
                if "error_mid" in script.flags:
                    yield 'data: {"error": {"message": "internal text of the engine", "code": 500}}\n\n'
                    yield "data: [DONE]\n\n"
                    return
            delta = {"index": 0, "delta": {"content": f"w{n} "}, "finish_reason": None}
            yield _event(body, choices=[delta])
            await asyncio.sleep(script.gap_s)
        yield _event(body, choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if (body.get("stream_options") or {}).get("include_usage"):
            yield _event(body, choices=[], usage=_usage(script))
        yield "data: [DONE]\n\n"
    finally:
        OPEN_REQUESTS.discard(token)


async def complete(request: Request) -> Response:
    """Serve both generation routes."""
    body = await request.json()
    REQUEST_BODIES.append(body)
    script = _script(body)
    if "error_400" in script.flags:
        message = "This model's maximum context length is 16 tokens. However, you requested 99 tokens."
        return JSONResponse({"error": {"message": message, "type": "BadRequestError", "code": 400}}, 400)
    if "error_500" in script.flags:
        return JSONResponse({"error": {"message": "internal text of the engine", "code": 500}}, 500)
    if body.get("stream"):
        return StreamingResponse(_events(body, script), media_type="text/event-stream")
    token = id(script)
    OPEN_REQUESTS.add(token)
    try:
        wait_s = 3600 if "hang_first" in script.flags else script.first_s + script.gap_s * script.pieces
        for _ in range(int(wait_s / 0.02)):
            if await request.is_disconnected():
                break
            await asyncio.sleep(0.02)
    finally:
        OPEN_REQUESTS.discard(token)
    return JSONResponse(_completion(body, script))


async def models(request: Request) -> Response:
    """List the models: a worker's health check."""
    return JSONResponse({"object": "list", "data": [{"id": "upstream", "object": "model"}]})


async def state(request: Request) -> Response:
    """Return the open requests and the bodies of all requests, for tests."""
    return JSONResponse({"open": len(OPEN_REQUESTS), "seen": REQUEST_BODIES})


app = Starlette(
    routes=[
        Route("/v1/chat/completions", complete, methods=["POST"]),
        Route("/v1/completions", complete, methods=["POST"]),
        Route("/v1/models", models),
        Route("/state", state),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
