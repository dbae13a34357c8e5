"""Events of a fine-tuning job as a stream: the past, then the present, nothing twice and nothing lost."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from itertools import pairwise
from typing import Any

import openai
import pytest
import redis
from django.conf import settings
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from api.gateway.app import Gateway
from api.gateway.settings import Limits
from api.gateway.state.fine_tuning import FineTuningStore
from api.gateway.streams.job_events import job_feeds
from inference_worker.protocol import sse
from inference_worker.protocol.messages import Outcome
from tenants.keys.services import key_revoke
from tenants.models import ApiKey
from tests.gateway.conftest import Keys
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import Connection, call, connect
from tests.gateway.harness.events import Event, parse_events
from tests.gateway.harness.jobs import JOBS, Attempt, created_job
from tests.gateway.harness.outages import DatabaseOutage
from tests.gateway.harness.records import settled_records
from tests.gateway.harness.threads import in_thread
from tests.openapi_validation import answer_faults
from tests.promises import assert_within, measured_again
from tests.site.harness.guarded import serve
from training.choices import EventLevel
from training.jobs.event_retention import events_purge
from training.jobs.events import event_add
from training.jobs.state import locked_job
from training.models import FineTuningJob

pytestmark = pytest.mark.usefixtures("trainable")
ENDPOINT = JOBS + "/{id}/events"
WATCHERS = 100


@pytest.fixture
def limits() -> Limits:
    return Limits(gateway_max_requests=256, stream_comment_s=0.2)


def watch(gateway: Gateway, key: str, job_id: str, query: str = "", **options: Any) -> Connection:
    """Start to read a job's events."""
    return connect(gateway, "GET", f"{JOBS}/{job_id}/events?stream=true{query}", key=key, **options)


def events_of(body: bytes) -> list[Event]:
    """Return the events of a stream that has ended, without its end."""
    *events, end = parse_events(body)
    assert end.data == "[DONE]"
    return events


def numbers_of(body: bytes) -> list[int]:
    """Return the numbers of the events of a stream that has ended."""
    return [event.number for event in events_of(body)]


async def until_event(stream: Connection, number: int) -> None:
    """Wait until a stream has an event."""
    await stream.wait_for(b"id: %d\n" % number)
    await stream.wait_for(sse.END)


async def add_events(job_id: str, count: int) -> None:
    """Add events to a job, each in a transaction of its own."""

    def add() -> None:
        for number in range(count):
            with transaction.atomic():
                event_add(locked_job(job_id), f"event {number}", level=EventLevel.INFO)

    await in_thread(add)


@pytest.mark.criterion("2.8")
async def test_a_late_reader_gets_the_past_then_the_present_each_once(gateway: Gateway, keys: Keys) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    attempt = await Attempt.claim()
    await attempt.step(1)
    stream = watch(gateway, keys.acme, job_id)
    await until_event(stream, 5)
    for step in (2, 3, 4):
        await attempt.step(step)
    await attempt.succeed()
    reply = await stream.finish()
    events = events_of(reply.body)
    listing = await call(gateway, "GET", f"{JOBS}/{job_id}/events?limit=100", key=keys.acme)
    assert [event.document for event in events] == listing.document["data"][::-1]
    assert [event.number for event in events] == list(range(1, 11))
    assert answer_faults("GET", ENDPOINT, reply.status, reply.headers, reply.body) == []
    losses = [event.document["data"]["train_loss"] for event in events if event.document["type"] == "metrics"]
    assert losses == [2.0, 1.0, pytest.approx(2 / 3), 0.5]
    assert numbers_of((await watch(gateway, keys.acme, job_id).finish()).body) == list(range(1, 11))


async def test_a_stream_of_a_job_without_its_old_events_has_its_end(gateway: Gateway, keys: Keys) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    attempt = await Attempt.claim()
    await attempt.step(1)
    await attempt.succeed()
    tomorrow = timezone.now() + dt.timedelta(days=1)
    assert await in_thread(lambda: events_purge(before=tomorrow, actor="tests", batch=2)) == 6
    for after in (0, 3):
        stream = watch(gateway, keys.acme, job_id, f"&starting_after={after}")
        assert numbers_of((await stream.finish()).body) == [7]
    listing = await call(gateway, "GET", f"{JOBS}/{job_id}/events", key=keys.acme)
    assert (len(listing.document["data"]), listing.document["has_more"]) == (1, False)


@pytest.mark.criterion("2.8")
async def test_a_reader_resumes_on_another_gateway(
    gateway: Gateway, second_gateway: Gateway, keys: Keys
) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    attempt = await Attempt.claim()
    first = watch(gateway, keys.acme, job_id)
    await until_event(first, 4)
    first_events = await first.close()
    last = max(event.number for event in parse_events(first_events.body))
    await attempt.step(1)
    later_events = [
        watch(second_gateway, keys.acme, job_id, f"&starting_after={last}"),
        watch(second_gateway, keys.acme, job_id, headers={"last-event-id": str(last)}),
    ]
    await until_event(later_events[0], last + 1)
    await attempt.fail()
    for stream in later_events:
        assert numbers_of((await stream.finish()).body) == list(range(last + 1, last + 3))
    assert numbers_of((await watch(gateway, keys.acme, job_id, "&starting_after=6").finish()).body) == []
    both = await call(
        gateway,
        "GET",
        f"{JOBS}/{job_id}/events?stream=true&starting_after=1",
        key=keys.acme,
        headers={"last-event-id": "1"},
    )
    assert (both.status, both.error["param"]) == (400, "starting_after")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the jobs whose events are read, one for each read."""
    job_ids: list[str] = []
    events_after = FineTuningStore.events_after

    async def counted(self: FineTuningStore, job_id: str, number: int, limit: int) -> Any:
        job_ids.append(job_id)
        return await events_after(self, job_id, number, limit)

    monkeypatch.setattr(FineTuningStore, "events_after", counted)
    return job_ids


@pytest.mark.criterion("2.8")
async def test_many_watchers_of_a_job_share_its_reads(gateway: Gateway, keys: Keys, reads: list[str]) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    streams = [watch(gateway, keys.acme, job_id) for _ in range(WATCHERS)]
    for stream in streams:
        await until_event(stream, 3)
    await add_events(job_id, 20)
    await call(gateway, "POST", f"{JOBS}/{job_id}/cancel", key=keys.acme)
    bodies = [(await stream.finish()).body for stream in streams]
    assert [numbers_of(body) for body in bodies] == [list(range(1, 25))] * WATCHERS
    assert len(reads) <= 30
    assert gateway.endpoints.fine_tuning.readers.feeds.job_count == 0


@pytest.mark.parametrize(("watchers", "interval_s"), [(1, 0.25), (10, 0.5), (WATCHERS, 1.0)])
async def test_the_more_watch_a_job_the_less_often_it_is_read(
    gateway: Gateway, keys: Keys, monkeypatch: pytest.MonkeyPatch, watchers: int, interval_s: float
) -> None:
    read_at: list[float] = []
    head = FineTuningStore.head

    async def timed(self: FineTuningStore, job_id: str) -> Any:
        read_at.append(time.monotonic())
        return await head(self, job_id)

    monkeypatch.setattr(FineTuningStore, "head", timed)
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    streams = [watch(gateway, keys.acme, job_id) for _ in range(watchers)]
    for stream in streams:
        await until_event(stream, 3)
    read_at.clear()
    feeds = gateway.endpoints.fine_tuning.readers.feeds
    while len(read_at) < 4:
        feeds.wake(job_id)
        await asyncio.sleep(0.01)
    for stream in streams:
        await stream.close()
    # The interval before the first of these reads may have begun with fewer watchers.
    assert all(later - earlier > interval_s * 0.95 for earlier, later in pairwise(read_at[1:]))


async def test_a_late_reader_of_a_long_job_misses_nothing(
    gateway: Gateway, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_feeds, "PAGE", 4)
    monkeypatch.setattr(job_feeds, "KEPT_EVENTS", 4)
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    await add_events(job_id, 30)
    early = watch(gateway, keys.acme, job_id)
    early.is_reading = False  # a reader that is slower than the events
    late = watch(gateway, keys.acme, job_id)
    await until_event(late, 33)
    await add_events(job_id, 30)
    await call(gateway, "POST", f"{JOBS}/{job_id}/cancel", key=keys.acme)
    assert numbers_of((await late.finish()).body) == list(range(1, 65))
    await early.close()
    middle = watch(gateway, keys.acme, job_id, "&starting_after=17")
    assert numbers_of((await middle.finish()).body) == list(range(18, 65))


@measured_again
async def test_events_are_pushed_at_once(gateway: Gateway, keys: Keys) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    attempt = await Attempt.claim()
    stream = watch(gateway, keys.acme, job_id)
    await until_event(stream, 4)
    delays = []
    for step in (1, 2, 3, 4):
        await attempt.step(step)
        recorded_at = time.monotonic()
        await until_event(stream, 4 + step)
        delays.append(time.monotonic() - recorded_at)
        await asyncio.sleep(0.1)
    # Without notifications, a delay would be half of the poll interval on average.
    await stream.close()
    assert_within(sorted(delays)[1], job_feeds.POLL_S / 10)


async def test_lost_notifications_only_delay_events(
    gateway: Gateway, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_feeds, "POLL_S", 0.1)
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    unreachable = settings.CYLLM.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    stream = watch(gateway, keys.acme, job_id)
    await until_event(stream, 3)
    with override_settings(CYLLM=unreachable):
        await add_events(job_id, 2)
    await until_event(stream, 5)
    await call(gateway, "POST", f"{JOBS}/{job_id}/cancel", key=keys.acme)
    assert numbers_of((await stream.finish()).body) == list(range(1, 7))


async def test_a_stream_survives_an_outage_of_the_database(
    gateway: Gateway, keys: Keys, database_outage: DatabaseOutage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_feeds, "POLL_S", 0.05)
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    stream = watch(gateway, keys.acme, job_id)
    await until_event(stream, 3)
    with database_outage():
        comments = stream.reply.body.count(sse.COMMENT)
        await eventually(lambda: stream.reply.body.count(sse.COMMENT) >= comments + 4)
    await add_events(job_id, 1)
    await until_event(stream, 4)
    assert b'"error"' not in stream.reply.body
    await stream.close()


async def test_a_paused_job_keeps_its_stream_open_with_comments(gateway: Gateway, keys: Keys) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    stream = watch(gateway, keys.acme, job_id)
    await call(gateway, "POST", f"{JOBS}/{job_id}/pause", key=keys.acme)
    await stream.wait_for(sse.COMMENT * 2)
    await call(gateway, "POST", f"{JOBS}/{job_id}/resume", key=keys.acme)
    await call(gateway, "POST", f"{JOBS}/{job_id}/cancel", key=keys.acme)
    messages = [event.document["message"] for event in events_of((await stream.finish()).body)]
    assert messages[-3:] == [
        "Fine-tuning job paused",
        "Fine-tuning job resumed, moved to queued state",
        "Fine-tuning job cancelled",
    ]


async def test_a_slow_reader_of_a_failed_job_does_not_end_streams_of_the_resumed_one(
    gateway: Gateway, keys: Keys
) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    slow, reader = watch(gateway, keys.acme, job_id), watch(gateway, keys.acme, job_id)
    await until_event(slow, 3)
    slow.is_reading = False
    await (await Attempt.claim()).fail("trainer_unavailable")
    await reader.finish()
    await call(gateway, "POST", f"{JOBS}/{job_id}/resume", key=keys.acme)
    stream = watch(gateway, keys.acme, job_id)
    await stream.wait_for(sse.COMMENT)
    await call(gateway, "POST", f"{JOBS}/{job_id}/cancel", key=keys.acme)
    messages = [event.document["message"] for event in events_of((await stream.finish()).body)]
    assert messages[-1] == "Fine-tuning job cancelled"
    await slow.close()
    assert gateway.endpoints.fine_tuning.readers.feeds.job_count == 0


async def test_a_slow_reader_of_a_failed_job_reads_on_after_readers_of_the_resumed_one(
    gateway: Gateway, keys: Keys
) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    feeds = gateway.endpoints.fine_tuning.readers.feeds
    slow = feeds.follow(job_id, 0, pause_s=0.1)
    first_events = await anext(slow)
    await (await Attempt.claim()).fail("trainer_unavailable")
    numbers = [event.number async for events in feeds.follow(job_id, 0, pause_s=0.1) for event in events]
    await call(gateway, "POST", f"{JOBS}/{job_id}/resume", key=keys.acme)
    second_watcher = feeds.follow(job_id, 0, pause_s=0.1)
    await anext(second_watcher)
    await second_watcher.aclose()
    later_events = [event async for events in slow for event in events]
    assert [event.number for event in (*first_events, *later_events)] == numbers
    assert feeds.job_count == 0


async def test_a_stream_ends_with_its_key(gateway: Gateway, keys: Keys) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    stream = watch(gateway, keys.acme, job_id)
    await until_event(stream, 3)
    prefix = keys.acme.split("-")[2]
    await in_thread(lambda: key_revoke(key_id=ApiKey.objects.get(prefix=prefix).id, actor="tests"))
    *_, error, end = parse_events((await stream.finish()).body)
    assert (error.document["error"]["code"], end.data) == ("key_revoked", "[DONE]")


async def test_a_disconnected_reader_leaves_nothing_behind(
    gateway: Gateway, keys: Keys, redis_client: redis.Redis
) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    stream = watch(gateway, keys.acme, job_id)
    await until_event(stream, 3)
    await stream.close()
    await eventually(lambda: gateway.endpoints.fine_tuning.readers.feeds.job_count == 0)
    assert gateway.capacity.log_readers.in_use == gateway.capacity.bodies.in_use == 0
    (record,) = await settled_records(gateway, redis_client, ENDPOINT)
    assert (record.outcome, record.streamed) == (Outcome.CANCELLED, True)


async def test_the_job_of_another_tenant_has_no_stream(gateway: Gateway, keys: Keys) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    reply = await watch(gateway, keys.globex, job_id).finish()
    assert (reply.status, reply.error["code"]) == (404, "fine_tuning_job_not_found")


async def test_a_deleted_job_ends_its_streams(
    gateway: Gateway, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_feeds, "POLL_S", 0.1)
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    stream = watch(gateway, keys.acme, job_id)
    await until_event(stream, 3)
    await in_thread(lambda: FineTuningJob.objects.filter(id=job_id).delete())
    assert numbers_of((await stream.finish()).body) == [1, 2, 3]


async def test_the_sdk_reads_a_stream(gateway: Gateway, keys: Keys) -> None:
    job_id = await created_job(gateway, keys.acme, keys.acme_id)
    attempt = await Attempt.claim()
    messages = []
    async with (
        serve(gateway) as (host, port, _),
        openai.AsyncOpenAI(base_url=f"http://{host}:{port}/v1", api_key=keys.acme, max_retries=0) as sdk,
    ):
        stream = await sdk.get(
            f"/fine_tuning/jobs/{job_id}/events",
            cast_to=openai.types.fine_tuning.FineTuningJobEvent,
            options={"params": {"stream": "true"}},
            stream=True,
            stream_cls=openai.AsyncStream[openai.types.fine_tuning.FineTuningJobEvent],
        )
        await attempt.step(1)
        await attempt.succeed()
        async for event in stream:
            messages.append(event.message)
    assert messages[-1] == "The job has successfully completed"
    assert len(messages) == len(set(messages)) == 7
