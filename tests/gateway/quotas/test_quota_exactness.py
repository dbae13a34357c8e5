"""Four gateways, 64 concurrent callers, random limits, disconnects, a killed gateway, a Redis without data.

No limit is ever exceeded, the ledger has what the engines generated, and no reservation is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import redis
from django.utils import timezone

from inference_worker.protocol import names
from tests.gateway.conftest import LONG_LIMITS, Keys
from tests.gateway.harness.calls import start_chat
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import Reply
from tests.gateway.harness.gateways import running_gateway
from tests.gateway.harness.metered_engine import Books, MeteredEngine
from tests.gateway.harness.quota_setup import (
    another_key,
    limit_key,
    limit_tenant,
    open_reservations,
    set_prices,
    spend_of,
)
from tests.gateway.harness.threads import in_thread

if TYPE_CHECKING:  # conftest.py is imported before Django is set up
    from api.gateway.app import Gateway
    from tenants.models import UsageRecord

GATEWAYS, CALLERS, CALLS = 4, 64, 4
LIMITS = LONG_LIMITS.model_copy(update={"gateway_max_requests": 128, "total_timeout_s": 20.0})


@dataclass
class Link:
    """A gateway's connections to Redis, which a test can cut for good."""

    port: int
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    is_cut: bool = False

    def cut(self) -> None:
        """Break every connection, and refuse new ones."""
        self.is_cut = True
        for writer in self.writers:
            writer.transport.abort()


@asynccontextmanager
async def link_to(url: str) -> AsyncIterator[tuple[Link, str]]:
    """Forward a port to Redis; yield the link and the URL with that port."""
    parts = urlsplit(url)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if link.is_cut:
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_connection(parts.hostname, parts.port)
        link.writers |= {writer, server_writer}
        await asyncio.gather(pump(reader, server_writer), pump(server_reader, writer))
        link.writers -= {writer, server_writer}

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        link = Link(server.sockets[0].getsockname()[1])
        yield link, url.replace(f":{parts.port}/", f":{link.port}/")
        for writer in list(link.writers):
            writer.transport.abort()


@dataclass
class Member:
    """A gateway with its engine and its link to Redis."""

    gateway: Gateway
    engine: MeteredEngine
    link: Link


@asynccontextmanager
async def members(redis_url: str, books: Books, generator: random.Random) -> AsyncIterator[list[Member]]:
    """Run the gateways."""
    async with AsyncExitStack() as stack:
        start_times = []
        for _ in range(GATEWAYS):
            link, url = await stack.enter_async_context(link_to(redis_url))
            engine = MeteredEngine(books, random.Random(generator.random()))
            gateway = await stack.enter_async_context(running_gateway(url, engine, LIMITS))
            start_times.append(Member(gateway, engine, link))
        for member in start_times:
            await eventually(lambda member=member: member.gateway.recorder.facts.is_up)  # type: ignore[misc]
        yield start_times


@asynccontextmanager
async def ledger_running(redis_url: str) -> AsyncIterator[None]:
    """Drain and sweep all the time, as Celery does."""
    from tenants.ledger.drain import ledger_drain
    from tenants.quotas.sweep import reservations_sweep

    async def repeat() -> None:
        with redis.Redis.from_url(redis_url) as client:
            while True:
                await in_thread(lambda: (ledger_drain(client), reservations_sweep(client)))
                await asyncio.sleep(0.2)

    task = asyncio.create_task(repeat())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def settle_everything(client: redis.Redis, tenant_id: str) -> None:
    """Let ledger and quotas settle until nothing is open, then rebuild what dead gateways left uncounted."""
    from tenants.ledger.drain import ledger_drain
    from tenants.ledger.sweep import ledger_sweep
    from tenants.quotas.rebuild import counters_rebuild
    from tenants.quotas.sweep import reservations_sweep

    def sweep() -> bool:
        while ledger_drain(client):
            pass
        ledger_sweep(client, now=timezone.now() + dt.timedelta(minutes=5))
        reservations_sweep(client)
        return not open_reservations(client, tenant_id)

    await eventually(lambda: in_thread(sweep))
    await in_thread(lambda: counters_rebuild(client, tenant_id))


@dataclass
class Caller:
    """A client that sends requests one after another, and leaves some before their end."""

    generator: random.Random
    gateways: list[Member]
    keys: list[str]
    replies: list[tuple[str, Reply]] = field(default_factory=list)

    async def run(self) -> None:
        for _ in range(CALLS):
            key = self.generator.choice(self.keys)
            member = self.generator.choice([member for member in self.gateways if not member.link.is_cut])
            options: dict[str, Any] = {
                "messages": [{"role": "user", "content": key}],
                "max_completion_tokens": self.generator.randint(1, 12),
                "stream": self.generator.random() < 0.5,
            }
            connection = start_chat(member.gateway, key, **options)
            if self.generator.random() < 0.2:
                await asyncio.sleep(self.generator.uniform(0, 0.1))
                connection.disconnect()
            reply = await connection.finish()
            self.replies.append((key, reply))
            if reply.status == 429:
                await asyncio.sleep(self.generator.uniform(0, 0.5))


def random_limits(generator: random.Random) -> dict[str, int | None]:
    """Return limits of which some bind."""

    def maybe(low: int, high: int) -> int | None:
        return generator.randint(low, high) if generator.random() < 0.7 else None

    return {
        "requests_per_minute": maybe(60, 250),
        "tokens_per_minute": maybe(2500, 12_000),
        "concurrent_requests": maybe(8, 30),
        "spend_per_day_microusd": maybe(3000, 20_000),
        "spend_per_month_microusd": maybe(3000, 20_000),
    }


@pytest.fixture
def quick_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten every wait for a dead gateway."""
    from tenants.quotas import sweep
    from tenants.quotas.counters import quota_counters

    monkeypatch.setattr(quota_counters, "LEASE_MS", 3000)
    monkeypatch.setattr(quota_counters, "RENEWAL_INTERVAL_S", 0.5)
    monkeypatch.setattr(sweep, "UNRECORDED_AFTER", dt.timedelta(seconds=1))
    monkeypatch.setattr(names, "GATEWAY_EXPIRY_S", 2.0)
    monkeypatch.setattr(names, "GATEWAY_DEAD_AFTER_S", 0.5)


@pytest.mark.criterion("6.3")
@pytest.mark.case("serving.1")
@pytest.mark.case("serving.3")
@pytest.mark.usefixtures("quick_leases")
@pytest.mark.parametrize(("fault", "seed"), [("none", 1), ("kill", 2), ("kill and flush", 4)])
async def test_no_limit_is_exceeded_and_the_ledger_has_what_was_generated(
    keys: Keys, redis_url: str, redis_client: redis.Redis, fault: str, seed: int
) -> None:
    from inference_worker.transport.facts import FactWriter

    generator = random.Random(seed)
    own = [keys.acme, await in_thread(partial(another_key, keys.acme_id))]
    await in_thread(set_prices)
    tenant_limits = random_limits(generator)
    key_limits = {key: random_limits(generator) for key in own}
    await in_thread(partial(limit_tenant, keys.acme_id, **tenant_limits))
    for key, limit in key_limits.items():
        await in_thread(partial(limit_key, key, **limit))
    books = Books(FactWriter(redis_url))
    await books.facts.start()
    async with ledger_running(redis_url), members(redis_url, books, generator) as running:
        callers = [Caller(random.Random(generator.random()), running, own) for _ in range(CALLERS)]
        tasks = [asyncio.create_task(caller.run()) for caller in callers]
        await asyncio.sleep(0.5)
        if "kill" in fault:
            running[0].link.cut()
            running[0].engine.stop_all()
            await asyncio.sleep(0.3)
        if "flush" in fault:
            redis_client.flushall()
        await asyncio.gather(*tasks)
        await settle_everything(redis_client, keys.acme_id)
    await books.facts.stop()
    await settle_everything(redis_client, keys.acme_id)
    check_limits(books, own, tenant_limits, key_limits)
    await in_thread(partial(check_ledger, redis_client, books, keys, own, tenant_limits, key_limits))
    replies = [reply.status for caller in callers for _, reply in caller.replies]
    # On a busy machine, most calls meet the limit of concurrent requests.
    assert min(replies.count(200), replies.count(429)) > 3, "the limits neither block all nor nothing"


def within(value: int, limit: int | None) -> bool:
    """Return whether a value keeps to a limit."""
    return limit is None or value <= limit


def charged_tokens(record: UsageRecord) -> int:
    """Return the tokens that count towards a limit."""
    return record.prompt_tokens + record.completion_tokens


def check_limits(
    books: Books, own: list[str], tenant: dict[str, int | None], keys: dict[str, dict[str, int | None]]
) -> None:
    """Check rates and concurrency; the test takes less than a minute."""

    assert within(books.requests.total(), tenant["requests_per_minute"])
    for key in own:
        assert within(books.requests[key], keys[key]["requests_per_minute"])
        assert within(books.peaks[key], keys[key]["concurrent_requests"])


def check_ledger(
    client: redis.Redis,
    books: Books,
    keys: Keys,
    own: list[str],
    tenant: dict[str, int | None],
    limits: dict[str, dict[str, int | None]],
) -> None:
    """Check that Redis and ledger agree with the engines, and the spend with its limits."""
    from tenants.models import UsageRecord
    from tests.gateway.harness.quota_setup import key_id_of

    records = list(UsageRecord.objects.filter(tenant_id=keys.acme_id))
    assert {record.state for record in records} == {"settled"}
    totals = {
        key: sum(
            record.prompt_tokens + record.completion_tokens + record.wasted_tokens
            for record in records
            if record.key_id == key_id_of(key)
        )
        for key in own
    }
    assert totals == {key: books.token_counts[key] for key in own}
    cost = sum(record.cost_microusd for record in records)
    assert spend_of(client, keys.acme_id) == cost
    for name in ("spend_per_day_microusd", "spend_per_month_microusd"):
        if (limit := tenant[name]) is not None:
            assert cost <= limit
    # The prompts are shorter than their estimates, so the tokens of a minute never exceed their limit.
    assert within(sum(map(charged_tokens, records)), tenant["tokens_per_minute"])
    for key in own:
        token_use = sum(charged_tokens(record) for record in records if record.key_id == key_id_of(key))
        assert within(token_use, limits[key]["tokens_per_minute"])
        spend = sum(record.cost_microusd for record in records if record.key_id == key_id_of(key))
        budgets = [limits[key][f"spend_per_{period}_microusd"] for period in ("day", "month")]
        assert all(budget is None or spend <= budget for budget in budgets)
