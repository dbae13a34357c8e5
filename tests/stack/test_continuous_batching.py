"""Requests join and leave the running batch of one engine, and none changes the answer of another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from tests.stack.conftest import OwnedStack
from tests.stack.sse import Reply, chat, receive
from tests.stacks import wait_until

pytestmark = pytest.mark.criterion("3.1")
LONG_TOKENS, SHORT_TOKENS = 700, 8
LONG = chat("tiny", "a long story", LONG_TOKENS)


def test_short_requests_join_a_running_batch_and_leave_it_before_the_long_one(
    ready_stack: OwnedStack,
) -> None:
    shorts = [chat("tiny", f"short {n}", SHORT_TOKENS) for n in range(4)]
    with ready_stack.client() as client, ThreadPoolExecutor(1) as threads:
        alone = [receive(client, body) for body in (LONG, *shorts)]
        long = Reply()
        running = threads.submit(receive, client, LONG, long)
        wait_until(lambda: len(long.events) > 2, "the long answer has begun")
        short_replies = [receive(client, body) for body in shorts]
        running.result()
    assert [reply.text for reply in (long, *short_replies)] == [reply.text for reply in alone]
    ends = [reply.ended_at for reply in (*short_replies, long)]
    assert all(earlier < later for earlier, later in pairwise(ends))


def test_concurrent_requests_generate_together(ready_stack: OwnedStack) -> None:
    """Every answer has begun before any has ended."""
    count = 8
    replies = [Reply() for _ in range(count)]
    begun_at_end: list[int] = []

    def receive_one(number: int) -> None:
        receive(client, chat("tiny", f"together {number}", 300), replies[number])
        begun_at_end.append(sum(len(reply.events) > 1 for reply in replies))

    with ready_stack.client() as client, ThreadPoolExecutor(count) as threads:
        list(threads.map(receive_one, range(count)))
    assert begun_at_end == [count] * count
    assert all(reply.is_done and len(reply.events) > 100 for reply in replies)
