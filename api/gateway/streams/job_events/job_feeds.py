"""Feeds of the events of fine-tuning jobs: one poll of the database per job, for any number of watchers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Sequence

from api.gateway.state.fine_tuning import FineTuningStore, JobHead, NumberedEvent
from api.openai.errors.base import ApiError
from inference_worker.telemetry.masking import trace_without_messages

logger = logging.getLogger("cyllm.gateway.jobs")

PAGE = 512
KEPT_EVENTS = 1024
# Notifications can be lost, so the database is polled as well: sooner if none can arrive.
POLL_S, POLL_WITHOUT_NOTIFICATIONS_S = 5.0, 1.0
# After a pause an event is read at once; the next ones are read together after an interval. It grows with the
# number of watchers, which must not take processor time from the training that they watch.
MIN_INTERVAL_S, MAX_INTERVAL_S, INTERVAL_PER_WATCHER_S = 0.25, 1.0, 0.05


class JobFeeds:
    """Delivers the events of jobs to the watchers of this process, past events first, each exactly once.

    ``is_notified``: whether notifications of changes can arrive now.
    """

    def __init__(self, store: FineTuningStore, is_notified: Callable[[], bool]) -> None:
        self._store = store
        self._is_notified = is_notified
        self._feeds: dict[str, _Feed] = {}

    @property
    def job_count(self) -> int:
        """The number of jobs that are being watched."""
        return len(self._feeds)

    def wake(self, job_id: str) -> None:
        """Read a job's events now: it has changed."""
        if feed := self._feeds.get(job_id):
            feed.wake.set()

    def wake_all(self) -> None:
        """Read the events of all jobs now: notifications may have been missed."""
        for feed in self._feeds.values():
            feed.wake.set()

    async def follow(
        self, job_id: str, after: int, pause_s: float
    ) -> AsyncGenerator[Sequence[NumberedEvent], None]:
        """Yield the events that follow number ``after``, in batches, until the job has ended.

        Yields an empty batch after ``pause_s`` without events. Raises DatabaseUnavailable.
        """
        feed = self._feeds.get(job_id)
        if feed is None or feed.has_ended:  # slow watchers keep its feed, and a failed job can be resumed
            feed = self._feeds[job_id] = _Feed(job_id, self._store, self._is_notified)
        feed.watchers += 1
        after = max(after, 0)
        try:
            while True:
                events = await self._next_events(feed, after, pause_s)
                if events:
                    after = events[-1].number
                elif feed.is_complete(after):
                    return
                yield events
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                if self._feeds.get(job_id) is feed:
                    del self._feeds[job_id]
                await feed.stop()

    async def _next_events(self, feed: _Feed, after: int, pause_s: float) -> Sequence[NumberedEvent]:
        """Return the next events, from memory if they are recent; empty after ``pause_s`` or at the end."""
        await feed.started()
        change = feed.change
        if after + 1 >= feed.first_number and not feed.recent_after(after) and not feed.is_complete(after):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await change.wait()
        # Only now: while a reader waits or sends, its next event may have left the memory.
        if after + 1 < feed.first_number and (
            events := await self._store.events_after(feed.job_id, after, PAGE)
        ):
            return events
        return feed.recent_after(after)


class _Feed:
    """The recent events of one job, kept up to date by one task.

    ``first_number``: number of the first event in memory. ``change`` is set, and replaced, when events have
    been added or the job has ended.
    """

    def __init__(self, job_id: str, store: FineTuningStore, is_notified: Callable[[], bool]) -> None:
        self.job_id = job_id
        self.watchers = 0
        self.wake = asyncio.Event()
        self.change = asyncio.Event()
        self.first_number = 1
        self._store = store
        self._is_notified = is_notified
        self._recent: list[NumberedEvent] = []
        self._last_number = 0
        self._has_ended = False
        self._start: asyncio.Task[None] = asyncio.create_task(self._load())
        self._task: asyncio.Task[None] = asyncio.create_task(self._keep_current(), name=f"feed {job_id}")

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended; this feed then gets no more events."""
        return self._has_ended

    @property
    def interval_s(self) -> float:
        """Least time between two reads."""
        return min(max(MIN_INTERVAL_S, self.watchers * INTERVAL_PER_WATCHER_S), MAX_INTERVAL_S)

    async def started(self) -> None:
        """Wait for the first read. Raises DatabaseUnavailable."""
        # Shielded: a client that disconnects must not cancel the read for the others.
        await asyncio.shield(self._start)

    async def stop(self) -> None:
        """End the task."""
        for task in (self._task, self._start):
            task.cancel()
        await asyncio.gather(self._task, self._start, return_exceptions=True)

    def is_complete(self, after: int) -> bool:
        """Return whether the job has ended and has no event after number ``after``."""
        return self._has_ended and after >= self._last_number

    def recent_after(self, after: int) -> list[NumberedEvent]:
        """Return the events in memory that follow number ``after``."""
        return self._recent[bisect_right(self._recent, after, key=_number) :]

    async def _load(self) -> None:
        head = await self._store.head(self.job_id)
        self.first_number = max(1, head.last_number + 1 - PAGE)
        self._last_number = self.first_number - 1
        await self._read(head)

    async def _keep_current(self) -> None:
        await asyncio.wait([self._start])
        while not self._has_ended:
            poll_s = POLL_S if self._is_notified() else POLL_WITHOUT_NOTIFICATIONS_S
            await asyncio.sleep(self.interval_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(poll_s):
                    await self.wake.wait()
            self.wake.clear()
            try:
                await self._read(await self._store.head(self.job_id))
            except ApiError as error:
                logger.warning("events of %s can't be read now: %s", self.job_id, error.code)
            except Exception as error:
                trace = trace_without_messages(error)
                logger.error("events of %s can't be read now", self.job_id, extra={"trace": trace})

    async def _read(self, head: JobHead) -> None:
        """Add the events up to the head, which was read before them, so an end comes after the last event."""
        known_number = self._last_number
        while self._last_number < head.last_number:
            events = await self._store.events_after(self.job_id, self._last_number, PAGE)
            if not events:
                break
            self._add(events)
        if head.has_ended and self._last_number >= head.last_number:
            self._has_ended = True
        if self._has_ended or self._last_number > known_number:
            self.change.set()
            self.change = asyncio.Event()

    def _add(self, events: Sequence[NumberedEvent]) -> None:
        self._recent.extend(events)
        self._last_number = events[-1].number
        if len(self._recent) > 2 * KEPT_EVENTS:
            del self._recent[:-KEPT_EVENTS]
        self.first_number = self._recent[0].number


def _number(event: NumberedEvent) -> int:
    return event.number
