"""256 concurrent streams on one gateway process: complete, in order, with constant memory."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import httpx
import psutil
import pytest

from tests.stack.conftest import OwnedStack
from tests.stack.records import running
from tests.stack.sse import Reply, add_line, chat
from tests.stacks import wait_until

STREAMS = 256
ROUNDS = 20
TOKENS = 12
WARM_UP = 5
GROWTH_MIB = 12


@dataclass
class Memory:
    """Resident memory in MiB."""

    gateway: float
    worker: float


def _memory(stack: OwnedStack) -> Memory:
    return Memory(
        *(psutil.Process(stack.pid(name)).memory_info().rss / 2**20 for name in ("gateway", "worker"))
    )


async def _receive(client: httpx.AsyncClient, body: dict[str, object]) -> Reply:
    reply = Reply()
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        reply.status = response.status_code
        async for line in response.aiter_lines():
            add_line(reply, line)
    return reply


async def _round(stack: OwnedStack, number: int) -> list[Reply]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=stack.base_url, headers=stack.headers(), timeout=120, limits=limits, trust_env=False
    ) as client:
        bodies = [
            chat("tiny", f"stream {n} of round {number}", TOKENS, stream_options={"include_usage": True})
            for n in range(STREAMS)
        ]
        return await asyncio.gather(*(_receive(client, body) for body in bodies))


@pytest.mark.criterion("1.3")
@pytest.mark.timeout(600)
def test_256_streams_are_complete_and_in_order_over_20_rounds_of_flat_memory(
    ready_stack: OwnedStack,
) -> None:
    measured = []
    for number in range(ROUNDS):
        streams = asyncio.run(_round(ready_stack, number))
        for reply in streams:
            assert (reply.status, reply.error, reply.done) == (200, None, True)
            assert reply.events[0]["choices"][0]["delta"]["role"] == "assistant"
            assert reply.events[-1]["usage"]["completion_tokens"] == TOKENS
            assert reply.events[-2]["choices"][0]["finish_reason"] == "length"
            assert len({event["id"] for event in reply.events}) == 1
        measured.append(_memory(ready_stack))
    wait_until(lambda: running(ready_stack) == 0, 5, "the engine is idle")
    for name in ("gateway", "worker"):
        early = max(getattr(memory, name) for memory in measured[:WARM_UP])
        late = getattr(measured[-1], name)
        assert late - early < GROWTH_MIB, f"{name} grew from {early:.0f} to {late:.0f} MiB"


def test_chunks_are_in_order_in_256_concurrent_streams(ready_stack: OwnedStack) -> None:
    plain = {}
    with ready_stack.client() as client:
        for n in range(8):
            body = chat("tiny", f"order {n}", 64, stream=False)
            answer = client.post("/v1/chat/completions", json=body)
            plain[n] = json.loads(answer.content)["choices"][0]["message"]["content"]

    async def ask() -> list[Reply]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=ready_stack.base_url,
            headers=ready_stack.headers(),
            timeout=120,
            limits=limits,
            trust_env=False,
        ) as client:
            bodies = [chat("tiny", f"order {n % 8}", 64) for n in range(STREAMS)]
            return await asyncio.gather(*(_receive(client, body) for body in bodies))

    for n, reply in enumerate(asyncio.run(ask())):
        assert reply.text == plain[n % 8]
