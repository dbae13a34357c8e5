"""The logs in Redis from which answers are read that may outlive a connection."""

from __future__ import annotations

import asyncio
import enum
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from api.gateway.stages.limits import Limits
from api.gateway.streams.event_log_scripts import APPEND, CANCEL, CREATE, DELETE, Script
from api.gateway.streams.wakeups import Wakeups
from api.openai.errors.base import ApiError
from api.openai.errors.resources import (
    EventsExpired,
    RequestCancelled,
    StreamLost,
    StreamNotFound,
    TooManyStreams,
)
from api.openai.errors.service import CoordinationUnavailable, InternalError
from inference_worker.protocol import names
from inference_worker.transport.address import Address
from inference_worker.transport.redis_connection import CommandRefused, RedisConnection, RedisUnavailable

logger = logging.getLogger("cyllm.gateway.streams")

COMMAND_TIMEOUT_S = 3.0
CANCEL_WAIT_S = 3.0
LOOK_INTERVAL_S = 1.0
# As for the sweep: a Redis that has just come back holds no sign of life of anyone.
MISSING_S = 4.0
ENTRY_BYTES = 64
MOST_EVENTS_READ = 512
DONE = b"data: [DONE]"
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


class Kind(enum.StrEnum):
    """What a log holds, which decides the form of an error in it."""

    CHAT = "chat"
    COMPLETION = "completion"
    RESPONSE = "response"


class State(enum.StrEnum):
    """How far a log is. LOST: its gateway has gone."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Log:
    """A log as it was at one moment; ``next_number`` is that of the event to come."""

    log_id: str
    tenant_id: str
    gateway_id: str
    kind: Kind
    state: State
    next_number: int
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One event: its number, its lines without the empty one at their end, and whether it is the last."""

    number: int
    event: bytes
    last: bool


def state_of(error: ApiError) -> State:
    """The state of a log that its gateway ends with this error."""
    return State.CANCELLED if isinstance(error, RequestCancelled) else State.FAILED


def closing_events(kind: Kind, error: ApiError, number: int) -> list[bytes]:
    """The last events of a log that ends with an error; ``number`` is that of the first of them."""
    if kind is not Kind.RESPONSE:
        return [b"data: " + error.body(), DONE]
    event = {
        "type": "error",
        "code": error.code,
        "message": error.message,
        "param": error.param,
        "sequence_number": number,
    }
    return [b"event: error\ndata: " + json.dumps(event).encode()]


class EventLogs:
    """All logs, as one process writes and reads them. Every method raises ApiError ``redis_unavailable``."""

    def __init__(self, redis_url: str, gateway_id: str, limits: Limits) -> None:
        self.gateway_id = gateway_id
        self._limits = limits
        self._link = RedisConnection(Address.from_url(redis_url))
        self._wakeups = Wakeups(redis_url)
        self._keep_ms = int(limits.stream_log_keep_s * 1000)
        self._running_ms = int(limits.total_timeout_s * 1000) + self._keep_ms + 60_000

    async def start(self) -> None:
        """Connect in the background."""
        await self._link.start()
        await self._wakeups.start()

    async def stop(self) -> None:
        """Close the connections."""
        await self._wakeups.stop()
        await self._link.stop()

    async def create(self, log_id: str, tenant_id: str, kind: Kind) -> None:
        """Begin a log. Raises ApiError ``too_many_streams`` where the tenant has only running ones."""
        made = await self._run(
            CREATE,
            (names.stream_meta_key(log_id), names.stream_index_key(tenant_id)),
            *(log_id, tenant_id, self.gateway_id, kind.value),
            *(self._running_ms, self._limits.stream_logs_per_tenant, names.stream_key("")),
        )
        if not made:
            raise TooManyStreams(limit=self._limits.stream_logs_per_tenant)

    async def append(
        self, log_id: str, tenant_id: str, number: int, events: Sequence[bytes], end: State | None = None
    ) -> bool:
        """Add events, the first of which has this number; whether a cancel was asked for meanwhile.

        Raises ApiError ``request_cancelled`` where the log was deleted or ended by somebody else.
        """
        found = await self._run(
            APPEND,
            self._keys(log_id, tenant_id),
            *(log_id, names.stream_channel(log_id), number, self._limits.stream_log_bytes),
            *(self._keep_ms, end.value if end else "", ENTRY_BYTES, *events),
        )
        if found < 0:
            raise RequestCancelled() if found == -1 else InternalError()
        return bool(found)

    async def find(self, log_id: str, tenant_id: str) -> Log | None:
        """The tenant's log of this id; None where there is none, or it is another tenant's."""
        if not _ID.fullmatch(log_id):
            return None
        fields = ("tenant", "gateway", "kind", "state", "next", "cancel")
        values = await self._call("HMGET", names.stream_meta_key(log_id), *fields)
        tenant, gateway, kind, state, number, cancel = (value and value.decode() for value in values)
        if tenant != tenant_id or state is None:
            return None
        return Log(log_id, tenant, gateway, Kind(kind), State(state), int(number), bool(cancel))

    async def cancel(self, log: Log) -> Log | None:
        """Ask the gateway that writes the log to end it.

        Returns the log as it is then, or some seconds later where the gateway does not; None if it is gone.
        """
        await self._run(
            CANCEL, (names.stream_meta_key(log.log_id),), names.CHANGES_CHANNEL, f"stream {log.log_id}"
        )
        return await self._ended(log, CANCEL_WAIT_S)

    async def delete(self, log_id: str, tenant_id: str) -> None:
        """Forget the log; what is still being written to it is cancelled."""
        channel = names.stream_channel(log_id)
        keys = self._keys(log_id, tenant_id)
        await self._run(DELETE, keys, log_id, channel, names.CHANGES_CHANNEL, f"stream {log_id}")

    async def follow(
        self, log: Log, after: int, look_s: float = LOOK_INTERVAL_S
    ) -> AsyncGenerator[list[Entry]]:
        """The events after that number as they come, up to the last; an empty list after each silent look.

        Raises ApiError ``events_expired`` where the next one is not kept any more, ``stream_not_found``
        where the log is deleted meanwhile.
        """
        owner = _Owner()
        with self._wakeups.listening(log.log_id) as grown:
            while True:
                grown.clear()
                entries = await self._read(log.log_id, after)
                if entries:
                    if entries[0].number != after + 1:
                        raise EventsExpired(first=entries[0].number)
                    after = entries[-1].number
                    yield entries
                    if entries[-1].last:
                        return
                elif log.state is not State.RUNNING and after + 1 >= log.next_number:
                    return
                elif not await _within(grown, look_s):
                    yield []
                    log = await self._looked(log, owner)

    async def close_with(self, log: Log, error: ApiError, state: State) -> None:
        """End a log, whoever wrote it, with an error as its last event. One that has ended stays as it is."""
        events = closing_events(log.kind, error, log.next_number)
        try:
            await self.append(log.log_id, log.tenant_id, log.next_number, events, state)
        except CoordinationUnavailable:
            raise
        except ApiError:
            logger.debug("log %s had ended already", log.log_id)

    async def _ended(self, log: Log, timeout_s: float) -> Log | None:
        deadline = time.monotonic() + timeout_s
        with self._wakeups.listening(log.log_id) as grown:
            while True:
                grown.clear()
                found = await self.find(log.log_id, log.tenant_id)
                left_s = deadline - time.monotonic()
                if found is None or found.state is not State.RUNNING or left_s <= 0:
                    return found
                await _within(grown, min(left_s, LOOK_INTERVAL_S))

    async def _looked(self, log: Log, owner: _Owner) -> Log:
        """The log as it is now; one whose gateway has gone is ended, so that every reader sees the same."""
        found = await self.find(log.log_id, log.tenant_id)
        if found is None:
            raise StreamNotFound(id=log.log_id)
        if found.state is State.RUNNING:
            sign = await self._call("EXISTS", names.gateway_key(found.gateway_id))
            if owner.missed(bool(sign)):
                await self.close_with(found, StreamLost(), State.LOST)
        return found

    async def _read(self, log_id: str, after: int) -> list[Entry]:
        entries = await self._call(
            "XRANGE", names.stream_key(log_id), f"({after + 1}-0", "+", "COUNT", MOST_EVENTS_READ
        )
        return [
            Entry(int(entry_id.partition(b"-")[0]) - 1, fields[1], len(fields) > 2)
            for entry_id, fields in entries
        ]

    def _keys(self, log_id: str, tenant_id: str) -> tuple[str, ...]:
        return (
            names.stream_key(log_id),
            names.stream_meta_key(log_id),
            names.stream_index_key(tenant_id),
        )

    async def _run(self, script: Script, keys: Sequence[str], *arguments: str | bytes | int) -> Any:
        try:
            return await self._called("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except CommandRefused as refused:
            if not str(refused).startswith("NOSCRIPT"):
                raise CoordinationUnavailable() from None
        return await self._call("EVAL", script.text, len(keys), *keys, *arguments)

    async def _call(self, *command: str | bytes | int) -> Any:
        try:
            return await self._called(*command)
        except CommandRefused:
            raise CoordinationUnavailable() from None

    async def _called(self, *command: str | bytes | int) -> Any:
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                return await self._link.call(*command)
        except CommandRefused:
            raise
        except (RedisUnavailable, TimeoutError):
            raise CoordinationUnavailable() from None


class _Owner:
    """Tells a gateway that has gone from one whose sign of life was missed once."""

    def __init__(self) -> None:
        self._missing_since: float | None = None

    def missed(self, sign: bool) -> bool:
        """Take note of a look; whether it and one some seconds before have found no sign of life."""
        now = time.monotonic()
        if sign:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        return self._missing_since is not None and now - self._missing_since >= MISSING_S


async def _within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
