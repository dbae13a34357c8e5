"""Slots in a gateway process: bounded, given back, and no tenant's alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from random import Random
from typing import Any

import pytest

from api.gateway.app import Gateway
from api.gateway.stages.capacity import BodyBudget, SharedSlots, Slots, TenantSlots
from api.gateway.stages.limits import Limits
from api.openai.errors.base import ApiError
from inference_worker.protocol.messages import Outcome
from tests.gateway.conftest import QUICK, Keys
from tests.gateway.driver import CHAT, call, chat, visit
from tests.gateway.harness import eventually, with_capacity
from tests.gateway.resumable import begin, script
from tests.gateway.scripted import Pause, ScriptedClient, accepted, delta, done, finished

PATH = "/v1/chat/completions"
CONTINUING: dict[str, Any] = {"stream": True, "stream_options": {"on_disconnect": "continue"}}


@pytest.fixture
def limits() -> Limits:
    """Time for a body that a busy machine does not need."""
    return QUICK.model_copy(update={"client_body_timeout_s": 2.0})


@pytest.mark.case("serving.21")
def test_a_place_is_given_back_however_the_request_ends() -> None:
    places = Slots(1)
    with pytest.raises(ZeroDivisionError), places.slot():
        raise ZeroDivisionError
    with places.slot(), pytest.raises(ApiError) as caught, places.slot():
        pass
    assert caught.value.code == "overloaded"
    assert caught.value.headers["retry-after"]
    assert places.in_use == 0


def test_a_tenant_that_reads_too_many_bodies_stops_no_other() -> None:
    readers = TenantSlots(2)
    with ExitStack() as held:
        held.enter_context(readers.slot("acme"))
        held.enter_context(readers.slot("acme"))
        with pytest.raises(ApiError), readers.slot("acme"):
            pass
        with readers.slot("globex"):
            pass
    with readers.slot("acme"), readers.slot("acme"):
        pass


def _fill(places: SharedSlots, held: ExitStack, tenant: str) -> int:
    """Take as many places for a tenant as it gets."""
    count = 0
    while True:
        try:
            held.enter_context(places.slot(tenant))
        except ApiError:
            return count
        count += 1


def test_a_tenant_alone_gets_its_share_and_another_always_gets_in() -> None:
    places = SharedSlots(512, 0.875)
    with ExitStack() as held:
        taken = [_fill(places, held, f"tenant {number}") for number in range(3)]
        assert taken == [448, 56, 7]
        assert places.in_use == 511
        with places.slot("a fourth"):
            assert places.in_use == 512
            with pytest.raises(ApiError), places.slot("a fifth"):
                pass
    assert places.in_use == 0
    assert _fill(places, ExitStack(), "tenant 0") == 448


def test_tenants_that_go_on_asking_come_to_equal_parts() -> None:
    places = SharedSlots(64, 0.875)
    running: dict[str, list[ExitStack]] = {"first": [], "second": [], "third": []}
    random = Random(5)

    def ask(tenant: str) -> None:
        stack = ExitStack()
        with suppress(ApiError):
            stack.enter_context(places.slot(tenant))
            running[tenant].append(stack)

    for _ in range(64):
        ask("first")
    for _ in range(3000):
        for tenant in running:
            ask(tenant)
        most = random.choice([held for held in running.values() for _ in held])
        most.pop().close()
    counts = [len(held) for held in running.values()]
    assert max(counts) - min(counts) <= 4, counts
    assert min(counts) >= 16, counts


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
def test_few_places_are_shared_as_well(limit: int) -> None:
    places = SharedSlots(limit, 0.875)
    with ExitStack() as held:
        first = _fill(places, held, "acme")
        assert first == max(1, limit - 1)
        assert _fill(places, held, "globex") == limit - first


async def test_one_tenant_with_all_its_requests_running_stops_no_other(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), Pause(0.5), finished(b"{}")] for _ in range(QUICK.gateway_max_requests)]
    running = [
        visit(gateway, "POST", "/v1/chat/completions", key=keys.acme, body=CHAT)
        for _ in range(QUICK.gateway_max_requests - 1)
    ]
    await eventually(lambda: gateway.capacity.requests.in_use == QUICK.gateway_max_requests - 1)
    refused = await chat(gateway, keys.acme)
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    assert (await chat(gateway, keys.globex)).status == 200
    for begun in running:
        await begun.task
        assert begun.reply.status == 200


async def test_a_request_that_no_worker_serves_has_its_record_and_was_never_started(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    ended: Callable[[], Any],
    started_facts: Callable[[], list[Any]],
) -> None:
    client.serves = ("another",)
    reply = await chat(gateway, keys.acme)
    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (
        503,
        "no_worker_available",
        "5",
    )
    record = await ended()
    assert (record.error_code, record.outcome, record.attempt) == ("no_worker_available", Outcome.REFUSED, 0)
    assert (record.model, record.tenant_id) == ("tiny", keys.acme_id)
    assert started_facts() == []
    assert client.calls == []


def test_bodies_of_one_tenant_leave_room_for_the_largest_of_another() -> None:
    bodies = BodyBudget(100, 0.875, largest_body=20)
    with ExitStack() as held:
        mine = [held.enter_context(bodies.account("acme")) for _ in range(10)]
        for more in mine[:8]:
            more(10)
        with pytest.raises(ApiError) as caught:
            mine[8](1)
        assert caught.value.code == "overloaded"
        other = held.enter_context(bodies.account("globex"))
        other(20)
        assert bodies.in_use == 100
    assert bodies.in_use == 0


async def test_bodies_that_are_held_are_bounded_and_given_back_however_requests_end(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    bodies = BodyBudget(150_000, 0.875, QUICK.max_body_bytes)
    bounded = with_capacity(gateway, bodies=bodies)
    slow = visit(bounded, "POST", PATH, key=keys.acme, pieces=[b"x" * 60_000], unfinished=True)
    await eventually(lambda: bodies.in_use == 60_000)
    refused = await call(bounded, "POST", PATH, key=keys.acme, pieces=[b"x" * 60_000])
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    client.scripts = [[accepted(), Pause(0.3), finished(b"{}")]]
    running = visit(bounded, "POST", PATH, key=keys.globex, body={**CHAT, "user": "u" * 60_000})
    await eventually(lambda: len(client.streams) == 1)
    assert bodies.in_use > 120_000, "held until its answer is there"
    await running.task
    assert running.reply.status == 200
    leaving = visit(bounded, "POST", PATH, key=keys.globex, pieces=[b"x" * 20_000], unfinished=True)
    leaving.leave()
    await leaving.task
    await slow.task
    assert slow.reply.status == 408
    assert bodies.in_use == 0


async def test_the_body_of_a_request_that_outlives_its_client_is_held_to_its_end(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [script(gap_s=0.2)]
    begun = begin(gateway, keys.acme, user="u" * 20_000)
    await begun.until(b"one ")
    begun.leave()
    await begun.task
    assert gateway.endpoints.generation.detached.running_count == 1
    assert gateway.capacity.bodies.in_use > 20_000
    await eventually(lambda: gateway.endpoints.generation.detached.running_count == 0)
    assert (gateway.capacity.bodies.in_use, gateway.capacity.requests.in_use) == (0, 0)


async def test_who_made_a_request_that_runs_on_reads_it_in_the_place_of_a_reader(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    readers = SharedSlots(2, 0.5)
    narrow = with_capacity(gateway, log_readers=readers)
    client.scripts = [[accepted(), delta("a"), Pause(0.2), delta("b"), done(), finished()]]
    slow = visit(narrow, "POST", PATH, key=keys.acme, body={**CHAT, **CONTINUING})
    await slow.until(b'"a"')
    slow.stuck = True
    await eventually(lambda: gateway.endpoints.generation.detached.running_count == 0)
    assert (readers.in_use, gateway.capacity.requests.in_use) == (1, 0), "its job is over, the reader is not"
    refused = await chat(narrow, keys.acme, **CONTINUING)
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    assert len(client.calls) == 1, "what nobody can read is not made"
    slow.leave()
    await slow.task
    assert readers.in_use == 0


async def test_what_slow_readers_of_a_log_have_not_taken_is_held_as_bodies_are(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    bodies = BodyBudget(50_000, 0.5, largest_body=1_000)
    narrow = with_capacity(gateway, bodies=bodies)
    client.scripts = [[accepted(), delta("a" * 30_000), [done(), finished()]]]
    made = await chat(gateway, keys.acme, **CONTINUING)
    path = f"/v1/streams/{made.headers['x-stream-id']}"
    slow = visit(narrow, "GET", path, key=keys.acme)
    slow.stuck = True
    await eventually(lambda: bodies.in_use > 30_000)
    refused = await call(narrow, "GET", path, key=keys.acme)
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    slow.leave()
    await slow.task
    assert bodies.in_use == 0
    assert (await call(narrow, "GET", path, key=keys.acme)).body == made.body
