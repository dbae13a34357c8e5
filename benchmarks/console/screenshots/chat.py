"""Answers of the playground's models for its picture, streamed by a small server in place of an engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.console.harness.sample_site import ADAPTER, ANSWER

PROMPT = "My parcel has not arrived."
BASE_ANSWER = (
    "I'm sorry to hear that. Parcels can be late for many reasons, such as the weather, holidays or a wrong "
    "address. You could wait a few more days, or ask the company that delivers it."
)
FIRST_S, GAP_S = 0.18, 0.02
PROMPT_TOKENS = 24
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


@asynccontextmanager
async def sample_chat() -> AsyncIterator[str]:
    """Run the server; yields its address."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    model = json.loads(await reader.readexactly(length))["model"]
    words = (ANSWER if model == ADAPTER else BASE_ANSWER).split(" ")
    writer.write(HEAD)
    await asyncio.sleep(FIRST_S)
    for number, word in enumerate(words):
        delta = {"content": word if number == 0 else f" {word}"}
        writer.write(_event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
        await writer.drain()
        await asyncio.sleep(GAP_S)
    writer.write(_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": len(words)}
    writer.write(_event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
    await writer.drain()
    writer.close()


def _event(chunk: dict[str, object]) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()
