"""Redis and Postgres stop and start under traffic."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.patience import PATIENCE_S
from tests.promises import assert_within, measured_again
from tests.stack.conftest import OwnedStack
from tests.stack.records import settled_usage
from tests.stack.sse import Reply, chat, receive
from tests.stacks import wait_until

REASONS = {"redis_unavailable", "database_unavailable", "no_worker_available", "worker_lost", "events_lost"}


@dataclass
class Sample:
    """A response and the time of its request."""

    at: float
    reply: Reply


class Traffic:
    """Clients that send requests continuously, streamed and not, and record the responses."""

    def __init__(self, stack: OwnedStack, clients: int = 4) -> None:
        self.samples: list[Sample] = []
        self.connection_errors: list[Exception] = []
        self._stack = stack
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(clients)]

    def _ask(self, number: int) -> None:
        with self._stack.client(timeout_s=20) as client:
            while not self._end.is_set():
                at = time.monotonic()
                body = chat("tiny", f"traffic {number}", 8, stream=number % 2 == 0)
                try:
                    self.samples.append(Sample(at, receive(client, body)))
                except httpx.HTTPError as error:
                    self.connection_errors.append(error)
                time.sleep(0.05)

    def since(self, at: float) -> list[Sample]:
        return [sample for sample in self.samples if sample.at >= at]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join(PATIENCE_S)


def _is_success(sample: Sample) -> bool:
    reply = sample.reply
    return reply.status == 200 and reply.error is None and bool(reply.text)


@pytest.mark.parametrize("name", ["valkey", "postgres"])
@measured_again
def test_requests_fail_with_503_during_an_outage_and_succeed_within_five_seconds_after_it(
    ready_stack: OwnedStack, name: str
) -> None:
    service = getattr(ready_stack, name)
    traffic = Traffic(ready_stack)
    with traffic.running():
        wait_until(lambda: len([s for s in traffic.samples if _is_success(s)]) > 8, "traffic flows")
        service.stop()
        stop_time = time.monotonic()
        wait_until(lambda: not ready_stack.ready(), "the stack is not ready")
        time.sleep(2.5)
        outage = traffic.since(stop_time + 1.5)
        assert not ready_stack.ready()
        service.start()
        restart_time = time.monotonic()
        wait_until(ready_stack.ready, "the stack is ready")
        wait_until(lambda: any(_is_success(s) for s in traffic.since(restart_time)), "requests work")
        assert_within(time.monotonic() - restart_time, 5)
        wait_until(lambda: time.monotonic() > restart_time + 5.5, "five seconds are over")
        later_time = time.monotonic()
        time.sleep(2)
    assert traffic.connection_errors == [], "every response must be valid HTTP"
    assert len(outage) > 4
    assert {sample.reply.status for sample in outage} == {503}
    for sample in traffic.samples:
        if not _is_success(sample):
            assert sample.reply.error is not None
            assert set(sample.reply.error) == {"message", "type", "param", "code"}
            assert sample.reply.error["code"] in REASONS
    later = traffic.since(later_time)
    assert later
    assert all(_is_success(sample) for sample in later)
    assert settled_usage(ready_stack, later[0].reply.request_id)["outcome"] == "completed"


@pytest.mark.parametrize("name", ["valkey", "postgres"])
def test_requests_that_run_during_an_outage_are_recorded_once(ready_stack: OwnedStack, name: str) -> None:
    service = getattr(ready_stack, name)
    replies = [Reply() for _ in range(4)]

    def ask(number: int) -> None:
        with ready_stack.client() as client:
            receive(client, chat("tiny", f"caught {number}", 900), replies[number])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(len(reply.events) > 2 for reply in replies), "the streams run")
    service.stop()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    time.sleep(1)
    service.start()
    for reply in replies:
        assert reply.is_done
        usage = settled_usage(ready_stack, reply.request_id)
        assert usage["completion_tokens"] > 2
        if name == "postgres":
            assert (reply.error, usage["outcome"]) == (None, "completed")
        else:
            assert reply.error is not None
    wait_until(ready_stack.ready, "ready again")
