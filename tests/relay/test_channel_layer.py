"""The Channels layer over a real Valkey: order, receivers, announced gaps, reconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis

from inference_worker.transport.channel_layer import (
    DEFAULT_CAPACITY,
    GAP,
    NoReceiverError,
    PubSubChannelLayer,
)
from inference_worker.transport.redis_connection import RedisUnavailableError
from inference_worker.transport.subscriber import Subscriber
from tests.patience import PATIENCE_S


@asynccontextmanager
async def running_layer(url: str, capacity: int = DEFAULT_CAPACITY) -> AsyncIterator[PubSubChannelLayer]:
    """A started layer with a subscriber of its own."""
    subscriber = Subscriber(url)
    layer = PubSubChannelLayer(url, subscriber, capacity)
    await subscriber.start()
    await layer.start()
    yield layer
    await layer.stop()
    await subscriber.stop()


@pytest.fixture
async def layers(redis_url: str) -> AsyncIterator[tuple[PubSubChannelLayer, PubSubChannelLayer]]:
    async with running_layer(redis_url, 50) as sender, running_layer(redis_url, 50) as receiver:
        yield sender, receiver


Layers = tuple[PubSubChannelLayer, PubSubChannelLayer]


async def _wait_until_up(layer: PubSubChannelLayer) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not layer.is_up:
            await asyncio.sleep(0.01)


async def test_messages_arrive_complete_and_in_order(layers: Layers) -> None:
    sender, receiver = layers
    channel = await receiver.new_channel()
    await receiver.open(channel)
    await _wait_until_up(sender)
    messages = [{"type": "t", "n": n, "data": bytes([n]) * 1000} for n in range(40)]
    for message in messages:
        assert await sender.send(channel, message) == 1
    assert [await receiver.receive(channel) for _ in messages] == messages


async def test_an_open_layer_can_send_at_once(redis_url: str) -> None:
    subscriber = Subscriber(redis_url)
    await subscriber.start()
    for number in range(20):
        layer = PubSubChannelLayer(redis_url, subscriber)
        channel = f"open.{number}"
        await layer.open(channel)
        assert await layer.send(channel, {"type": "t"}) == 1
        await layer.stop()
    await subscriber.stop()


async def test_sending_to_a_dead_process_fails_at_once(layers: Layers, redis_url: str) -> None:
    sender, _ = layers
    await _wait_until_up(sender)
    async with running_layer(redis_url) as receiver:
        channel = await receiver.new_channel()
        await receiver.open(channel)
    with pytest.raises(NoReceiverError):
        await sender.send(channel, {"type": "t"})


async def test_a_closed_channel_has_no_receiver(layers: Layers) -> None:
    sender, receiver = layers
    await _wait_until_up(sender)
    await receiver.open("channel")
    assert await sender.send("channel", {"type": "t"}) == 1
    receiver.close("channel")
    await receiver.open("other channel")  # confirmed after the first has been removed
    with pytest.raises(NoReceiverError):
        await sender.send("channel", {"type": "t"})


async def test_a_message_that_is_not_a_map_is_ignored(layers: Layers, redis_url: str) -> None:
    sender, receiver = layers
    await _wait_until_up(sender)
    await receiver.open("channel")
    with redis.Redis.from_url(redis_url) as other:
        for data in (b"\xc1", b"\x93\x01\x02\x03", b"", b"\xa5hello"):
            assert other.publish("channel", data) == 1
    await sender.send("channel", {"type": "t", "n": 1})
    assert await asyncio.wait_for(receiver.receive("channel"), PATIENCE_S) == {"type": "t", "n": 1}


async def test_a_full_channel_drops_its_messages_and_announces_a_gap(layers: Layers) -> None:
    sender, receiver = layers
    channel = await receiver.new_channel()
    await receiver.open(channel)
    await _wait_until_up(sender)
    for n in range(51):
        await sender.send(channel, {"type": "t", "n": n})
    await asyncio.sleep(0.05)
    assert await receiver.receive(channel) == GAP
    await sender.send(channel, {"type": "t", "n": 99})
    assert await receiver.receive(channel) == {"type": "t", "n": 99}


async def test_a_lost_connection_is_announced_and_the_channel_works_again(
    layers: Layers, redis_url: str
) -> None:
    sender, receiver = layers
    channel = await receiver.new_channel()
    await receiver.open(channel)
    await _wait_until_up(sender)
    with redis.Redis.from_url(redis_url) as admin:
        admin.client_kill_filter(_type="pubsub", skipme=True)
    assert await asyncio.wait_for(receiver.receive(channel), PATIENCE_S) == GAP
    await receiver.open(channel)
    await _wait_until_up(sender)
    await sender.send(channel, {"type": "t", "n": 1})
    assert await receiver.receive(channel) == {"type": "t", "n": 1}


async def test_without_redis_sending_fails_at_once_and_opening_within_its_timeout() -> None:
    async with running_layer("redis://127.0.0.1:1/0") as layer:
        with pytest.raises(RedisUnavailableError):
            await layer.send("c", {"type": "t"})
        with pytest.raises(RedisUnavailableError):
            await layer.open("c", timeout_s=0.2)
