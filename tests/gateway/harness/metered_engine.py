"""An engine that generates random numbers of tokens, and keeps the books that the ledger must agree with."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from typing_extensions import override

from inference_worker.client.interface import Call, LossCause, Lost, Stream, StreamEvent
from inference_worker.protocol.messages import (
    AttemptMetered,
    Failed,
    FailureKind,
    Finished,
    Meter,
    Outcome,
)
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import accepted, delta, done, valid_document

if TYPE_CHECKING:
    from inference_worker.transport.facts import FactWriter

PROMPT_TOKENS = 5


@dataclass
class Books:
    """The work of all engines. ``owners``: the API key of each request, as its test knows it.

    ``running``: attempts by key; ``peaks``: the most at once. ``generated``: tokens of all attempts.
    """

    facts: FactWriter
    owners: dict[str, str] = field(default_factory=dict)
    running: Counter[str] = field(default_factory=Counter)
    peaks: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    token_counts: Counter[str] = field(default_factory=Counter)


class MeteredStream(Stream):
    """One attempt: it generates tokens one by one, may fail, and is metered once, however it ends."""

    def __init__(self, engine: MeteredEngine, call: Call, attempt: int) -> None:
        self.worker_id, self.attempt = f"worker-{attempt}", attempt
        self._engine, self._call, self._random = engine, call, engine.random
        body = json.loads(call.body)
        self._key = json.loads(call.body)["messages"][0]["content"].strip("-")
        self._choices = body.get("n", 1)
        self._remaining = self._random.randint(0, body["max_completion_tokens"])
        self._fails = self._random.random() < 0.1
        self._tokens = 0
        self._has_begun = False
        self._is_metered = False
        engine.open_streams.add(self)
        books = engine.books
        books.requests[self._key] += attempt == 1
        books.running[self._key] += 1
        books.peaks[self._key] = max(books.peaks[self._key], books.running[self._key])

    @override
    async def next_events(self, timeout_s: float) -> list[StreamEvent]:
        await asyncio.sleep(self._random.uniform(0, 0.02))
        if not self._has_begun:
            self._has_begun = True
            return [accepted()]
        if self._fails and self._random.random() < 0.5:
            return [self._failure()]
        if self._remaining:
            self._remaining -= 1
            self._tokens += self._choices
            return [delta("x")] if self._call.streamed else []
        self._meter(Outcome.COMPLETED)
        data = b"" if self._call.streamed else valid_document(self._call.operation)
        events = [Finished(request_id="", attempt=self.attempt, index=0, data=data, meter=self.reading())]
        return [done(), *events] if self._call.streamed else [*events]

    def _failure(self) -> StreamEvent:
        self._meter(Outcome.FAILED)
        if self._random.random() < 0.5:
            return Lost(LossCause.WORKER_DIED)
        return Failed(
            request_id="",
            attempt=self.attempt,
            index=0,
            kind=FailureKind.ENGINE,
            status=500,
            detail="",
            meter=self.reading(),
        )

    def reading(self) -> Meter:
        """Return the meter so far."""
        return Meter(prompt_tokens=PROMPT_TOKENS, completion_tokens=self._tokens, total_s=0.1)

    def stop(self) -> None:
        """End the attempt, as a worker does when its gateway has gone."""
        self._meter(Outcome.CANCELLED)

    def _meter(self, outcome: Outcome) -> None:
        if self._is_metered:
            return
        self._is_metered = True
        self._engine.open_streams.discard(self)
        books = self._engine.books
        books.running[self._key] -= 1
        books.token_counts[self._key] += PROMPT_TOKENS + self._tokens
        fact = AttemptMetered(
            request_id=self._call.request_id,
            attempt=self.attempt,
            worker_id=self.worker_id,
            outcome=outcome,
            meter=self.reading(),
            at=time.time(),
        )
        books.facts.add(fact)

    @override
    def cancel(self, reason: str) -> None:
        self.stop()

    @override
    def close(self) -> None:
        self.stop()


class MeteredEngine(ScriptedClient):
    """The engine client of one gateway."""

    def __init__(self, books: Books, generator: random.Random) -> None:
        super().__init__()
        self.books, self.random = books, generator
        self.open_streams: set[MeteredStream] = set()

    @override
    async def submit(  # type: ignore[override]
        self, call: Call, *, attempt: int, excluded_workers: Sequence[str] = ()
    ) -> MeteredStream:
        return MeteredStream(self, call, attempt)

    def stop_all(self) -> None:
        """End every attempt."""
        for stream in list(self.open_streams):
            stream.stop()
