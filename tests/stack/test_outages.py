"""Redis and Postgres stopped and started under traffic."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.stack.conftest import OwnedStack
from tests.stack.records import settled_usage
from tests.stack.sse import Heard, chat, listen
from tests.stacks import wait_until

REASONS = {"redis_unavailable", "database_unavailable", "no_worker_available", "worker_lost", "events_lost"}


@dataclass
class Seen:
    """One answer of the traffic."""

    at: float
    heard: Heard


class Traffic:
    """Clients that ask again and again, streamed and not, and keep what they were answered."""

    def __init__(self, stack: OwnedStack, clients: int = 4) -> None:
        self.seen: list[Seen] = []
        self.broke: list[Exception] = []
        self._stack = stack
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(clients)]

    def _ask(self, number: int) -> None:
        with self._stack.client(timeout_s=20) as client:
            while not self._end.is_set():
                at = time.monotonic()
                body = chat("tiny", f"traffic {number}", 8, stream=number % 2 == 0)
                try:
                    self.seen.append(Seen(at, listen(client, body)))
                except httpx.HTTPError as error:
                    self.broke.append(error)
                time.sleep(0.05)

    def since(self, at: float) -> list[Seen]:
        return [seen for seen in self.seen if seen.at >= at]

    @contextmanager
    def flowing(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join(30)


def _good(seen: Seen) -> bool:
    return seen.heard.status == 200 and seen.heard.error is None and bool(seen.heard.text)


@pytest.mark.parametrize("name", ["valkey", "postgres"])
def test_an_outage_gives_503_in_openai_format_and_five_seconds_after_it_all_works(
    ready_stack: OwnedStack, name: str
) -> None:
    service = getattr(ready_stack, name)
    traffic = Traffic(ready_stack)
    with traffic.flowing():
        wait_until(lambda: len([s for s in traffic.seen if _good(s)]) > 8, 20, "traffic flows")
        service.stop()
        stopped = time.monotonic()
        wait_until(lambda: not ready_stack.ready(), 5, "ready says no")
        time.sleep(2.5)
        outage = traffic.since(stopped + 1.5)
        assert not ready_stack.ready()
        service.start()
        back = time.monotonic()
        wait_until(ready_stack.ready, 5, "ready says yes")
        wait_until(lambda: any(_good(s) for s in traffic.since(back)), 5, "requests work")
        wait_until(lambda: time.monotonic() > back + 5.5, 10, "five seconds are over")
        settled_from = time.monotonic()
        time.sleep(2)
    assert traffic.broke == [], "every answer must be a proper HTTP answer"
    assert len(outage) > 4
    assert {seen.heard.status for seen in outage} == {503}
    for seen in traffic.seen:
        if not _good(seen):
            assert seen.heard.error is not None
            assert set(seen.heard.error) == {"message", "type", "param", "code"}
            assert seen.heard.error["code"] in REASONS
    later = traffic.since(settled_from)
    assert later
    assert all(_good(seen) for seen in later)
    assert settled_usage(ready_stack, later[0].heard.request_id)["outcome"] == "completed"


@pytest.mark.parametrize("name", ["valkey", "postgres"])
def test_requests_that_an_outage_caught_are_recorded_once_all_the_same(
    ready_stack: OwnedStack, name: str
) -> None:
    service = getattr(ready_stack, name)
    heard = [Heard() for _ in range(4)]

    def ask(number: int) -> None:
        with ready_stack.client() as client:
            listen(client, chat("tiny", f"caught {number}", 900), heard[number])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(len(one.events) > 2 for one in heard), 10, "the streams run")
    service.stop()
    for thread in threads:
        thread.join(15)
        assert not thread.is_alive()
    time.sleep(1)
    service.start()
    for one in heard:
        assert one.done
        usage = settled_usage(ready_stack, one.request_id, 60)
        assert usage["completion_tokens"] > 2
        if name == "postgres":
            assert (one.error, usage["outcome"]) == (None, "completed")
        else:
            assert one.error is not None
    wait_until(ready_stack.ready, 10, "ready again")
