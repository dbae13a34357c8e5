"""Large bodies: few of a tenant at a time, at a pace, decoded off the event loop, and refused cheaply."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from api.gateway.app import Gateway
from api.gateway.capacity.body_bytes import BodyBytes
from api.gateway.capacity.large_bodies import CONCURRENT_BODIES, LargeBodies
from api.gateway.http.disconnect import Message
from api.gateway.stages.body import decode
from api.gateway.stages.body.client_time import SLOT_WAIT_S, ClientTime
from api.gateway.state import heap_trimming
from api.openai.errors.access import ClientTimeout
from api.openai.validation.json_body import parse_body
from api.openai.validation.json_shape import LARGE_BYTES
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import BODIES, CHAT, chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import Connection, call, connect
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import body_script
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.case("robustness.1")

LARGE = json.dumps(
    {**BODIES[CHAT], "user": "u" * 500, "messages": [{"role": "user", "content": "x" * 200_000}]}
)
PIECE = 65536
ROOT = Path(__file__).resolve().parents[3]


def start_large(gateway: Gateway, key: str, body: bytes = LARGE.encode()) -> Connection:
    """Send a body in pieces, as the server delivers it."""
    chunks = [body[start : start + PIECE] for start in range(0, len(body), PIECE)]
    return connect(gateway, "POST", CHAT, key=key, chunks=chunks)


class HeldDecoder:
    """Replaces the decoder of large bodies with one that waits for ``release``."""

    def __init__(self) -> None:
        self.calls = 0
        self.release = threading.Event()

    def __call__(self, data: bytes, *, is_checked: bool = False) -> Any:
        if len(data) > 100_000:
            assert is_checked
            assert threading.current_thread() is not threading.main_thread()
            self.calls += 1
            assert self.release.wait(PATIENCE_S)
        return parse_body(data, is_checked=is_checked)


@pytest.fixture
def decoder() -> Iterator[HeldDecoder]:
    """A decoder of large bodies that waits."""
    held_decoder = HeldDecoder()
    with mock.patch.object(decode, "parse_body", held_decoder):
        yield held_decoder
    held_decoder.release.set()


async def test_other_requests_are_served_while_a_large_body_is_decoded(
    gateway: Gateway, keys: Keys, client: ScriptedClient, decoder: HeldDecoder
) -> None:
    client.scripts = [body_script() for _ in range(5)]
    large = [start_large(gateway, keys.acme) for _ in range(3)]
    await eventually(lambda: decoder.calls == 1)
    for key in (keys.globex, keys.acme):
        assert (await chat(gateway, key)).status == 200
    await asyncio.sleep(0.1)
    assert decoder.calls == 1, "one large body of each tenant at a time"
    assert gateway.capacity.bodies.in_use >= 3 * len(LARGE)
    decoder.release.set()
    assert [(await connection.finish()).status for connection in large] == [200] * 3
    assert gateway.capacity.bodies.in_use == 0


async def test_bodies_beyond_a_tenants_slots_are_not_read(
    gateway: Gateway, keys: Keys, client: ScriptedClient, decoder: HeldDecoder
) -> None:
    client.scripts = [body_script() for _ in range(CONCURRENT_BODIES + 3)]
    large = [start_large(gateway, keys.acme) for _ in range(CONCURRENT_BODIES + 2)]
    await eventually(lambda: decoder.calls == 1)
    await asyncio.sleep(0.1)
    # Those that wait have sent no more than showed that they are large.
    waiting_bytes = gateway.capacity.bodies.in_use - CONCURRENT_BODIES * len(LARGE)
    assert 0 < waiting_bytes <= 2 * (LARGE_BYTES + PIECE)
    assert (await chat(gateway, keys.acme)).status == 200, "small bodies don't wait"
    decoder.release.set()
    assert [(await connection.finish()).status for connection in large] == [200] * len(large)


async def test_pauses_of_the_gateway_are_not_the_clients_time() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"x", "more_body": True}] * 4

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    client = ClientTime(receive, limit_s=0.2)
    async with LargeBodies().slot("acme") as slot:
        await client.receive(slot)
        await slot.acquire()
        while messages:
            await asyncio.sleep(0.1)
            await client.receive(slot)
        with pytest.raises(ClientTimeout):
            await client.receive(slot)


@pytest.mark.parametrize("is_silent", [True, False])
async def test_slow_clients_leave_their_slots_to_others_of_their_tenant(
    gateway: Gateway, keys: Keys, client: ScriptedClient, is_silent: bool
) -> None:
    client.scripts = [body_script()]
    first = [b" " * PIECE] * 2
    slow = [
        connect(gateway, "POST", CHAT, key=keys.acme, chunks=first, incomplete=True)
        for _ in range(CONCURRENT_BODIES)
    ]

    async def trickle() -> None:
        while not is_silent:
            for connection in slow:
                connection.send_body(b" ")
            await asyncio.sleep(SLOT_WAIT_S / 5)

    task = asyncio.create_task(trickle())
    await asyncio.sleep(0.1)
    assert (await start_large(gateway, keys.acme).finish()).status == 200
    task.cancel()
    for connection in slow:
        assert not connection.task.done()
        await connection.close()
    assert gateway.capacity.bodies.in_use == 0


async def test_the_rest_of_a_refused_body_is_paced_too(gateway: Gateway, keys: Keys) -> None:
    pace = gateway.capacity.large_bodies.pace
    body = b"[" * 200_000 + b" " * 4_000_000
    with mock.patch.object(pace, "wait", wraps=pace.wait) as wait:
        reply = await start_large(gateway, keys.acme, body).finish()
    assert (reply.status, reply.error["code"]) == (400, "json_too_deep")
    assert wait.await_count >= 4_000_000 // PIECE


async def test_large_bodies_are_validated_in_the_thread_that_decodes_them() -> None:
    large_bodies = LargeBodies()

    def validate(_: Any) -> str:
        return threading.current_thread().name

    large = json.dumps("x" * 200_000).encode()
    assert (await decode.decode_request(large, "acme", large_bodies, validate)).startswith("large-bodies")
    assert large_bodies.pace.ahead_s("acme") > 0, "its time is charged"
    assert await decode.decode_request(b"1", "globex", large_bodies, validate) == "MainThread"
    assert large_bodies.pace.ahead_s("globex") == 0


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("metadata", {f"{number:x}": 0 for number in range(680_000)}, "keys of objects"),
        ("stop", [0] * 600_000, "elements of arrays and objects"),
    ],
)
async def test_a_body_of_too_many_parts_is_refused_before_it_is_complete_and_never_decoded(
    gateway: Gateway, keys: Keys, decoder: HeldDecoder, name: str, value: Any, parts: str
) -> None:
    body = json.dumps({**BODIES[CHAT], name: value}, separators=(",", ":")).encode()
    reply = await start_large(gateway, keys.acme, body).finish()
    assert (reply.status, reply.error["code"]) == (400, "json_too_complex")
    assert parts in reply.error["message"]
    assert decoder.calls == 0


async def test_a_body_larger_than_what_its_tenant_can_have_is_refused_by_its_length(
    gateway: Gateway, keys: Keys
) -> None:
    bodies = gateway.capacity.bodies
    with bodies.hold(keys.acme_id, gateway.limits.gateway_body_bytes - 2 * gateway.limits.max_body_bytes):
        length = {"content-length": str(gateway.limits.max_body_bytes)}
        options: dict[str, Any] = {"raw": b"{", "headers": length, "incomplete": True}
        reply = await asyncio.wait_for(call(gateway, "POST", CHAT, key=keys.acme, **options), PATIENCE_S)
        assert (reply.status, reply.error["code"]) == (503, "overloaded")


async def test_memory_is_returned_after_one_large_body_or_many_small_ones() -> None:
    bodies = BodyBytes(2**30, 0.875, largest_body=2**23)
    with mock.patch.object(heap_trimming, "trim_heap", return_value=True) as trim:
        trimmer = heap_trimming.HeapTrimmer(bodies)
        with bodies.account("acme") as add_bytes:
            add_bytes(heap_trimming.MIN_RELEASED_BYTES)
            await trimmer.check()
            assert trim.call_count == 0, "still in use"
        await trimmer.check()
        await trimmer.check()
        assert trim.call_count == 1
        with bodies.account("acme") as add_bytes:
            add_bytes(heap_trimming.MIN_RELEASED_BYTES - 1)
        await trimmer.check()
        assert trim.call_count == 1, "too little"
        with bodies.hold("acme", 1):
            pass
        await trimmer.check()
        assert trim.call_count == 2, "the sum counts"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and glibc")
def test_trimming_releases_pages_between_blocks_that_are_in_use() -> None:
    script = (
        "import re\n"
        "from pathlib import Path\n"
        "from api.gateway.state.heap_trimming import trim_heap\n"
        "status = Path('/proc/self/status')\n"
        "def resident(): return int(re.search(r'VmRSS:\\s+(\\d+)', status.read_text())[1])\n"
        "before = resident()\n"
        "blocks = [bytes([1]) * 60_000 for _ in range(2000)]\n"
        "kept = blocks[::50]\n"
        "blocks.clear()\n"
        "untrimmed = resident() - before\n"
        "trim_heap()\n"
        "print(untrimmed, resident() - before)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    untrimmed_kib, trimmed_kib = map(int, output.split())
    assert untrimmed_kib > 80_000, "otherwise this test shows nothing"
    assert trimmed_kib < 30_000
