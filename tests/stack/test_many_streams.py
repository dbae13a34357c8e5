"""256 concurrent streams on one gateway process: complete, in order, with constant memory."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil
import pytest

from tests.fuzzing.wire import Connection, request
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


async def _receive(stack: OwnedStack, body: dict[str, object]) -> Reply:
    """Read a stream without httpx, whose cost for so many events is several times that of the stack."""
    address = urlsplit(stack.base_url)
    data = json.dumps(body).encode()
    headers = {**stack.headers(), "host": address.netloc, "content-length": str(len(data))}
    head = {"content-type": "application/json", **headers}
    async with Connection(address.hostname or "", address.port or 0) as connection:
        raw = await connection.ask(request("POST", "/v1/chat/completions", list(head.items()), data))
    reply = Reply(status=raw.status)
    for line in raw.body.decode().splitlines():
        add_line(reply, line)
    return reply


async def _receive_all(stack: OwnedStack, bodies: list[dict[str, object]]) -> list[Reply]:
    return await asyncio.gather(*(_receive(stack, body) for body in bodies))


@pytest.mark.criterion("1.3")
@pytest.mark.case("serving.37")
def test_256_streams_are_complete_and_in_order_over_20_rounds_of_flat_memory(
    ready_stack: OwnedStack,
) -> None:
    samples = []
    for number in range(ROUNDS):
        bodies = [
            chat("tiny", f"stream {n} of round {number}", TOKENS, stream_options={"include_usage": True})
            for n in range(STREAMS)
        ]
        streams = asyncio.run(_receive_all(ready_stack, bodies))
        for reply in streams:
            assert (reply.status, reply.error, reply.is_done) == (200, None, True)
            assert reply.events[0]["choices"][0]["delta"]["role"] == "assistant"
            assert reply.events[-1]["usage"]["completion_tokens"] == TOKENS
            assert reply.events[-2]["choices"][0]["finish_reason"] == "length"
            assert len({event["id"] for event in reply.events}) == 1
        samples.append(_memory(ready_stack))
    wait_until(lambda: running(ready_stack) == 0, "the engine is idle")
    for name in ("gateway", "worker"):
        early = max(getattr(memory, name) for memory in samples[:WARM_UP])
        late = getattr(samples[-1], name)
        assert late - early < GROWTH_MIB, f"{name} grew from {early:.0f} to {late:.0f} MiB"


def test_chunks_are_in_order_in_256_concurrent_streams(ready_stack: OwnedStack) -> None:
    plain = {}
    with ready_stack.client() as client:
        for n in range(8):
            body = chat("tiny", f"order {n}", 64, stream=False)
            answer = client.post("/v1/chat/completions", json=body)
            plain[n] = json.loads(answer.content)["choices"][0]["message"]["content"]

    bodies = [chat("tiny", f"order {n % 8}", 64) for n in range(STREAMS)]
    for n, reply in enumerate(asyncio.run(_receive_all(ready_stack, bodies))):
        assert reply.text == plain[n % 8]
