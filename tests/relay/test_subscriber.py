"""The subscriber over a real Valkey: shared channels, confirmations, gaps, reconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from deploy.local.servers.valkey import EmbeddedValkey
from inference_worker.transport.subscriber import Subscriber, Subscription
from tests.patience import PATIENCE_S
from tests.ports import reserved_port
from tests.stacks import Service

SUBSCRIBED, GAP = "subscribed", "gap"


@dataclass
class Handler:
    """Records the callbacks of one subscription in order: messages, confirmations and gaps."""

    calls: list[bytes | str] = field(default_factory=list)

    def subscribe(self, subscriber: Subscriber, channel: str) -> Subscription:
        return subscriber.subscribe(
            channel,
            self.calls.append,
            on_subscribed=lambda: self.calls.append(SUBSCRIBED),
            on_gap=lambda: self.calls.append(GAP),
        )

    async def wait_for(self, *calls: bytes | str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until exactly these callbacks have been made since the last wait."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self.calls) < len(calls):
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pass
        assert self.calls == list(calls)
        self.calls.clear()


@asynccontextmanager
async def running_subscriber(url: str) -> AsyncIterator[Subscriber]:
    subscriber = Subscriber(url)
    await subscriber.start()
    try:
        yield subscriber
    finally:
        await subscriber.stop()


@pytest.fixture
async def subscriber(redis_url: str) -> AsyncIterator[Subscriber]:
    async with running_subscriber(redis_url) as subscriber:
        yield subscriber


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[tuple[Service, str]]:
    """A server that the test can stop, and its address."""
    valkey = EmbeddedValkey(data_dir=tmp_path, port=reserved_port(), password="own", fsync="no")
    service = Service(valkey.program(), valkey.is_ready, tmp_path / "valkey.log")
    service.start()
    yield service, valkey.url
    service.stop()


def _receivers(redis_client: redis.Redis, channel: str) -> int:
    return int(redis_client.pubsub_numsub(channel)[0][1])


async def test_a_subscription_made_before_the_connection_is_confirmed_once_it_is_up(
    redis_url: str, redis_client: redis.Redis
) -> None:
    subscriber, handler = Subscriber(redis_url), Handler()
    handler.subscribe(subscriber, "a")
    assert not subscriber.is_up
    await subscriber.start()
    await handler.wait_for(SUBSCRIBED)
    redis_client.publish("a", b"one")
    redis_client.publish("b", b"of another channel")
    redis_client.publish("a", b"\xfftwo")
    await handler.wait_for(b"one", b"\xfftwo")
    await subscriber.stop()
    await handler.wait_for(GAP)
    assert redis_client.publish("a", b"after the stop") == 0


async def test_handlers_of_one_channel_share_its_subscription(
    subscriber: Subscriber, redis_client: redis.Redis
) -> None:
    first, second = Handler(), Handler()
    first_subscription = first.subscribe(subscriber, "a")
    await first.wait_for(SUBSCRIBED)
    second_subscription = second.subscribe(subscriber, "a")
    assert second.calls == [SUBSCRIBED], "the channel is confirmed already"
    assert redis_client.publish("a", b"for both") == 1
    await first.wait_for(b"for both")
    await second.wait_for(SUBSCRIBED, b"for both")
    subscriber.unsubscribe(first_subscription)
    subscriber.unsubscribe(first_subscription)
    assert redis_client.publish("a", b"for the second") == 1
    await second.wait_for(b"for the second")
    subscriber.unsubscribe(second_subscription)
    async with asyncio.timeout(PATIENCE_S):
        while _receivers(redis_client, "a"):
            await asyncio.sleep(0.005)
    assert (first.calls, second.calls) == ([], [])


async def test_two_handlers_that_subscribe_at_once_are_both_confirmed(subscriber: Subscriber) -> None:
    handlers = [Handler(), Handler()]
    for handler in handlers:
        handler.subscribe(subscriber, "a")
    for handler in handlers:
        await handler.wait_for(SUBSCRIBED)


async def test_a_channel_subscribed_to_again_is_confirmed_only_by_its_last_subscription(
    subscriber: Subscriber, redis_client: redis.Redis
) -> None:
    ready = Handler()
    ready.subscribe(subscriber, "ready")
    await ready.wait_for(SUBSCRIBED)
    handlers = [Handler() for _ in range(5)]
    for handler in handlers[:-1]:
        subscriber.unsubscribe(handler.subscribe(subscriber, "a"))
    handlers[-1].subscribe(subscriber, "a")
    await handlers[-1].wait_for(SUBSCRIBED)
    redis_client.publish("a", b"one")
    await handlers[-1].wait_for(b"one")
    assert all(handler.calls == [] for handler in handlers[:-1])


async def test_a_broken_connection_is_a_gap_and_every_channel_is_subscribed_again(
    subscriber: Subscriber, redis_client: redis.Redis
) -> None:
    handlers = [Handler() for _ in range(3)]
    for handler, channel in zip(handlers, "aab", strict=True):
        handler.subscribe(subscriber, channel)
    for handler in handlers:
        await handler.wait_for(SUBSCRIBED)
    redis_client.client_kill_filter(_type="pubsub", skipme=True)
    for handler in handlers:
        await handler.wait_for(GAP, SUBSCRIBED)
    redis_client.publish("a", b"one")
    redis_client.publish("b", b"two")
    for handler, message in zip(handlers, (b"one", b"one", b"two"), strict=True):
        await handler.wait_for(message)


async def test_subscriptions_survive_a_restart_of_the_server(own_valkey: tuple[Service, str]) -> None:
    service, url = own_valkey
    async with running_subscriber(url) as subscriber:
        before, during, former = Handler(), Handler(), Handler()
        before.subscribe(subscriber, "a")
        former_subscription = former.subscribe(subscriber, "former")
        await before.wait_for(SUBSCRIBED)
        await former.wait_for(SUBSCRIBED)
        await asyncio.to_thread(service.stop)
        await before.wait_for(GAP)
        await former.wait_for(GAP)
        assert not subscriber.is_up
        during.subscribe(subscriber, "a")
        subscriber.unsubscribe(former_subscription)
        assert during.calls == [], "the server has confirmed nothing"
        await asyncio.to_thread(service.start)
        await before.wait_for(SUBSCRIBED)
        await during.wait_for(SUBSCRIBED)
        assert former.calls == []
        with redis.Redis.from_url(url) as client:
            assert _receivers(client, "former") == 0
            client.publish("a", b"one")
        await before.wait_for(b"one")
        await during.wait_for(b"one")


async def test_a_handler_that_fails_gets_a_gap_and_costs_no_other_handler_a_message(
    subscriber: Subscriber, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    gaps: list[str] = []

    def fail(_: bytes) -> None:
        raise ValueError("not a message")

    subscriber.subscribe("a", fail, on_gap=lambda: gaps.append("a"))
    handler = Handler()
    handler.subscribe(subscriber, "a")
    await handler.wait_for(SUBSCRIBED)
    redis_client.publish("a", b"one")
    redis_client.publish("a", b"two")
    await handler.wait_for(b"one", b"two")
    assert gaps == ["a", "a"]
    assert "message on a not handled" in caplog.text
    assert subscriber.is_up


async def test_a_callback_may_unsubscribe_itself_and_subscribe_elsewhere(
    subscriber: Subscriber, redis_client: redis.Redis
) -> None:
    other, onlooker = Handler(), Handler()

    def move(_: bytes) -> None:
        subscriber.unsubscribe(subscription)
        other.subscribe(subscriber, "b")

    subscription = subscriber.subscribe("a", move)
    onlooker.subscribe(subscriber, "a")
    await onlooker.wait_for(SUBSCRIBED)
    redis_client.publish("a", b"one")
    await onlooker.wait_for(b"one")
    await other.wait_for(SUBSCRIBED)
    redis_client.publish("a", b"two")
    await onlooker.wait_for(b"two")
    redis_client.publish("b", b"three")
    await other.wait_for(b"three")


async def test_a_connection_that_breaks_before_the_confirmation_delays_it(
    subscriber: Subscriber, redis_client: redis.Redis
) -> None:
    ready, handler = Handler(), Handler()
    ready.subscribe(subscriber, "ready")
    await ready.wait_for(SUBSCRIBED)
    handler.subscribe(subscriber, "a")
    transport = subscriber._connection._transport
    assert transport is not None
    transport.abort()
    await handler.wait_for(GAP, SUBSCRIBED)
    redis_client.publish("a", b"one")
    await handler.wait_for(b"one")
