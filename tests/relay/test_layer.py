"""The Channels layer over a real Valkey: order, receivers, announced gaps, reconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from inference_worker.transport.channel_layer import GAP, NoReceiver, PubSubChannelLayer
from inference_worker.transport.redis_connection import RedisUnavailable


@pytest.fixture
async def layers(redis_url: str) -> AsyncIterator[tuple[PubSubChannelLayer, PubSubChannelLayer]]:
    pair = (PubSubChannelLayer(redis_url, capacity=50), PubSubChannelLayer(redis_url, capacity=50))
    yield pair
    for layer in pair:
        await layer.stop()


Layers = tuple[PubSubChannelLayer, PubSubChannelLayer]


async def _ready(layer: PubSubChannelLayer) -> None:
    await layer.start()
    async with asyncio.timeout(5):
        while not layer.is_up:
            await asyncio.sleep(0.01)


async def test_messages_arrive_in_order_and_whole(layers: Layers) -> None:
    sender, receiver = layers
    channel = await receiver.new_channel()
    await receiver.open(channel)
    await _ready(sender)
    sent = [{"type": "t", "n": n, "data": bytes([n]) * 1000} for n in range(40)]
    for message in sent:
        assert await sender.send(channel, message) == 1
    assert [await receiver.receive(channel) for _ in sent] == sent


async def test_sending_to_a_process_that_has_gone_is_known_at_once(layers: Layers) -> None:
    sender, receiver = layers
    channel = await receiver.new_channel()
    await receiver.open(channel)
    await _ready(sender)
    await receiver.stop()
    with pytest.raises(NoReceiver):
        await sender.send(channel, {"type": "t"})


async def test_a_full_channel_drops_what_it_holds_and_says_so(layers: Layers) -> None:
    sender, receiver = layers
    channel = await receiver.new_channel()
    await receiver.open(channel)
    await _ready(sender)
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
    await _ready(sender)
    with redis.Redis.from_url(redis_url) as admin:
        admin.client_kill_filter(_type="pubsub", skipme=True)
    assert await asyncio.wait_for(receiver.receive(channel), 3) == GAP
    await receiver.open(channel)
    await _ready(sender)
    await sender.send(channel, {"type": "t", "n": 1})
    assert await receiver.receive(channel) == {"type": "t", "n": 1}


async def test_without_redis_sending_fails_at_once_and_opening_within_its_limit() -> None:
    layer = PubSubChannelLayer("redis://127.0.0.1:1/0")
    await layer.start()
    with pytest.raises(RedisUnavailable):
        await layer.send("c", {"type": "t"})
    with pytest.raises(RedisUnavailable):
        await layer.open("c", timeout_s=0.2)
    await layer.stop()
