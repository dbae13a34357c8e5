"""Capacity of a gateway process: bounded, released, and shared among tenants."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack, suppress
from random import Random

import pytest
import redis

from api.gateway.app import Gateway
from api.gateway.capacity.body_bytes import BodyBytes
from api.gateway.capacity.slots import SharedSlots, Slots, TenantSlots
from api.gateway.settings import Limits
from api.openai.errors.base import ApiError
from inference_worker.protocol.messages import Outcome
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import CHAT, chat, resumable_chat, start_chat, start_resumable_chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call, connect
from tests.gateway.harness.gateways import detached_count, with_capacity
from tests.gateway.harness.records import RecordReader, starts_of
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import accepted, body_script, delta, done, finished

LIMITS = LONG_LIMITS.model_copy(update={"max_body_bytes": 64 * 1024, "client_body_timeout_s": 2.0})


@pytest.fixture
def limits() -> Limits:
    return LIMITS


@pytest.mark.case("serving.21")
def test_a_slot_is_released_however_the_request_ends() -> None:
    slots = Slots(1)
    with pytest.raises(ZeroDivisionError), slots.slot():
        raise ZeroDivisionError
    with slots.slot(), pytest.raises(ApiError) as excinfo, slots.slot():
        pass
    assert excinfo.value.code == "overloaded"
    assert excinfo.value.headers["retry-after"]
    assert slots.in_use == 0


def test_many_bodies_of_one_tenant_block_no_other_tenant() -> None:
    slots = TenantSlots(2)
    with slots.slot("acme"), slots.slot("acme"):
        with pytest.raises(ApiError), slots.slot("acme"):
            pass
        with slots.slot("globex"):
            pass
    with slots.slot("acme"), slots.slot("acme"):
        pass


def _fill(slots: SharedSlots, resources: ExitStack, tenant: str) -> int:
    """Occupy slots for a tenant until it gets no more, and return their number."""
    count = 0
    while True:
        try:
            resources.enter_context(slots.slot(tenant))
        except ApiError:
            return count
        count += 1


def test_a_tenant_gets_at_most_its_share_and_a_newcomer_always_a_slot() -> None:
    slots = SharedSlots(512, 0.875)
    with ExitStack() as resources:
        counts = [_fill(slots, resources, f"tenant {number}") for number in range(3)]
        assert counts == [448, 56, 7]
        assert slots.in_use == 511
        with slots.slot("a fourth"):
            assert slots.in_use == 512
            with pytest.raises(ApiError), slots.slot("a fifth"):
                pass
    assert slots.in_use == 0
    assert _fill(slots, ExitStack(), "tenant 0") == 448


def test_busy_tenants_converge_to_equal_parts() -> None:
    slots = SharedSlots(64, 0.875)
    running: dict[str, list[ExitStack]] = {"first": [], "second": [], "third": []}
    random = Random(5)

    def try_slot(tenant: str) -> None:
        stack = ExitStack()
        with suppress(ApiError):
            stack.enter_context(slots.slot(tenant))
            running[tenant].append(stack)

    for _ in range(64):
        try_slot("first")
    for _ in range(3000):
        for tenant in running:
            try_slot(tenant)
        # The end of a random request.
        random.choice([stacks for stacks in running.values() for _ in stacks]).pop().close()
    counts = [len(stacks) for stacks in running.values()]
    assert max(counts) - min(counts) <= 4, counts
    assert min(counts) >= 16, counts


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
def test_a_few_slots_are_shared(limit: int) -> None:
    slots = SharedSlots(limit, 0.875)
    with ExitStack() as resources:
        count = _fill(slots, resources, "acme")
        assert count == max(1, limit - 1)
        assert _fill(slots, resources, "globex") == limit - count


@pytest.mark.case("robustness.2")
def test_the_weight_of_a_request_counts_in_its_tenants_share() -> None:
    slots = SharedSlots(512, 0.875)
    with ExitStack() as resources:
        for _ in range(3):
            resources.enter_context(slots.slot("acme"))
            resources.enter_context(slots.weigh("acme", 128))
        assert (slots.use_of("acme"), slots.in_use) == (384, 384)
        with slots.slot("acme"), pytest.raises(ApiError, match="overloaded"), slots.weigh("acme", 128):
            pass
        with slots.slot("globex"), slots.weigh("globex", 3):
            assert slots.use_of("globex") == 3
    assert slots.in_use == 0


@pytest.mark.case("robustness.2")
def test_a_newcomers_request_is_never_refused_for_its_weight() -> None:
    slots = SharedSlots(64, 0.875)
    with ExitStack() as resources:
        assert _fill(slots, resources, "acme") == 56
        with slots.slot("globex"), slots.weigh("globex", 1000):
            assert slots.use_of("globex") == 7, "all but one slot of those that are free"
            with slots.slot("a third"), slots.weigh("a third", 1000):
                assert slots.in_use == 64
        assert slots.in_use == 56
    with slots.slot("acme"), slots.weigh("acme", 1000):
        assert slots.in_use == 56, "the largest share of one tenant"


@pytest.mark.case("robustness.2")
async def test_many_choices_fill_the_share_of_their_tenant_and_start_after_requests_of_others(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    gateway_slots = gateway.capacity.requests
    release = asyncio.Event()
    client.scripts = [body_script(until=release), *(body_script() for _ in range(3))]
    many = start_chat(gateway, keys.acme, n=128)
    await eventually(lambda: len(client.calls) == 1)
    assert gateway_slots.in_use == gateway.limits.gateway_max_requests - 1
    excess = await chat(gateway, keys.acme)
    assert (excess.status, excess.error["code"]) == (503, "overloaded")
    assert (await chat(gateway, keys.globex)).status == 200
    release.set()
    assert (await many.finish()).status == 200
    assert gateway_slots.in_use == 0
    # 128 choices of 2 tokens are less than one context of the model.
    assert (await chat(gateway, keys.acme, n=128, max_completion_tokens=2)).status == 200
    first, second, third = (json.loads(call.body)["priority"] for call in client.calls)
    assert first > max(second, third), "the request for many choices starts last"


@pytest.mark.case("robustness.2")
async def test_the_engine_starts_a_tenants_first_request_before_the_fifth_of_another(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    release = asyncio.Event()
    client.scripts = [*(body_script(until=release) for _ in range(5)), body_script()]
    connections = []
    for number in range(5):
        connections.append(start_chat(gateway, keys.acme))
        await eventually(lambda expected=number + 1: len(client.calls) == expected)  # type: ignore[misc]
    assert (await chat(gateway, keys.globex)).status == 200
    *many, one = (json.loads(call.body)["priority"] for call in client.calls)
    assert many == sorted(many)
    assert many[0] <= one < many[1], "the other tenant's first request starts before the second of this one"
    release.set()
    for connection in connections:
        assert (await connection.finish()).status == 200


async def test_a_tenant_that_uses_its_share_blocks_no_other_tenant(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    slot_count = gateway.limits.gateway_max_requests
    release = asyncio.Event()
    client.scripts = [*(body_script(until=release) for _ in range(slot_count - 1)), body_script()]
    connections = [start_chat(gateway, keys.acme) for _ in range(slot_count - 1)]
    await eventually(lambda: len(client.calls) == slot_count - 1)
    excess = await chat(gateway, keys.acme)
    assert (excess.status, excess.error["code"]) == (503, "overloaded")
    assert (await chat(gateway, keys.globex)).status == 200
    release.set()
    for connection in connections:
        assert (await connection.finish()).status == 200


async def test_a_request_without_a_worker_has_a_record_but_no_start(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    settled_record: RecordReader,
    redis_client: redis.Redis,
) -> None:
    client.models = ("another",)
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (
        503,
        "no_worker_available",
        "5",
    )
    record = await settled_record()
    assert (record.error_code, record.outcome, record.attempt) == ("no_worker_available", Outcome.REFUSED, 0)
    assert (record.model, record.tenant_id) == ("tiny", keys.acme_id)
    assert starts_of(redis_client) == []
    assert client.calls == []


def test_bodies_of_one_tenant_leave_room_for_the_largest_of_another() -> None:
    bodies = BodyBytes(100, 0.875, largest_body=20)
    with ExitStack() as resources:
        accounts = [resources.enter_context(bodies.account("acme")) for _ in range(9)]
        for add_bytes in accounts[:8]:
            add_bytes(10)
        with pytest.raises(ApiError) as excinfo:
            accounts[8](1)
        assert excinfo.value.code == "overloaded"
        resources.enter_context(bodies.hold("globex", 20))
        assert bodies.in_use == 100
    assert bodies.in_use == 0


async def test_body_bytes_are_bounded_and_released_however_requests_end(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    bodies = BodyBytes(150_000, 0.875, LIMITS.max_body_bytes)
    gateway = with_capacity(gateway, bodies=bodies)
    slow = connect(gateway, "POST", CHAT, key=keys.acme, chunks=[b"x" * 60_000], incomplete=True)
    await eventually(lambda: bodies.in_use == 60_000)
    excess = await call(gateway, "POST", CHAT, key=keys.acme, chunks=[b"x" * 60_000])
    assert (excess.status, excess.error["code"]) == (503, "overloaded")
    release = asyncio.Event()
    client.scripts = [body_script(until=release)]
    running = start_chat(gateway, keys.globex, user="u" * 60_000)
    await eventually(lambda: len(client.streams) == 1)
    assert bodies.in_use > 120_000, "a body is held until the engine has finished"
    release.set()
    assert (await running.finish()).status == 200
    broken_connection = connect(
        gateway, "POST", CHAT, key=keys.globex, chunks=[b"x" * 20_000], incomplete=True
    )
    await broken_connection.close()
    assert (await slow.finish()).status == 408
    assert bodies.in_use == 0


async def test_a_detached_request_holds_its_body_bytes_until_its_end(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    release = asyncio.Event()
    client.scripts = [[accepted(), delta("one "), release, done(), finished()]]
    connection = start_resumable_chat(gateway, keys.acme, user="u" * 20_000)
    await connection.wait_for(b"one ")
    await connection.close()
    assert detached_count(gateway) == 1
    assert gateway.capacity.bodies.in_use > 20_000
    release.set()
    await eventually(lambda: detached_count(gateway) == 0)
    assert (gateway.capacity.bodies.in_use, gateway.capacity.requests.in_use) == (0, 0)


async def test_the_client_of_a_detached_request_occupies_a_log_reader_slot(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    readers = SharedSlots(2, 0.5)
    gateway = with_capacity(gateway, log_readers=readers)
    release = asyncio.Event()
    client.scripts = [[accepted(), delta("a"), release, delta("b"), done(), finished()]]
    slow = start_resumable_chat(gateway, keys.acme)
    await slow.wait_for(b'"a"')
    slow.is_reading = False
    release.set()
    await eventually(lambda: detached_count(gateway) == 0)
    assert (readers.in_use, gateway.capacity.requests.in_use) == (1, 0), "only the request has ended"
    excess = await resumable_chat(gateway, keys.acme)
    assert (excess.status, excess.error["code"]) == (503, "overloaded")
    assert len(client.calls) == 1, "a stream that can't be read was generated"
    await slow.close()
    assert readers.in_use == 0


async def test_events_that_slow_readers_have_not_received_count_as_body_bytes(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    # Room for one answer, even while the request holds its own body, but not for two.
    bodies = BodyBytes(70_000, 0.5, largest_body=1_000)
    gateway = with_capacity(gateway, bodies=bodies)
    client.scripts = [[accepted(), delta("a" * 30_000), [done(), finished()]]]
    reply = await resumable_chat(gateway, keys.acme)
    path = f"/v1/streams/{reply.headers['x-stream-id']}"
    slow = connect(gateway, "GET", path, key=keys.acme)
    slow.is_reading = False
    await eventually(lambda: bodies.in_use > 30_000)
    excess = await call(gateway, "GET", path, key=keys.acme)
    assert (excess.status, excess.error["code"]) == (503, "overloaded")
    await slow.close()
    assert bodies.in_use == 0
    assert (await call(gateway, "GET", path, key=keys.acme)).body == reply.body
