"""Event logs in Redis: resumable streams, which the first client reads like every later one."""

from __future__ import annotations

import asyncio
import enum
import logging
import re
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from api.gateway.settings import Limits
from api.gateway.streams.event_logs.scripts import (
    APPEND,
    CANCEL,
    CREATE,
    DELETE,
    append_arguments,
    log_keys,
)
from api.gateway.streams.event_logs.wakeups import Wakeups
from api.gateway.streams.output.closing_events import LogKind, closing_events
from api.openai.errors.base import ApiError
from api.openai.errors.service import InternalError, RedisUnavailable
from api.openai.errors.streams import (
    EventsExpired,
    RequestCancelled,
    StreamLost,
    StreamNotFound,
    TooManyStreams,
)
from inference_worker.protocol import names
from inference_worker.transport.address import Address
from inference_worker.transport.lua_script import NO_SCRIPT, LuaScript
from inference_worker.transport.redis_connection import (
    CommandRejectedError,
    RedisConnection,
    RedisUnavailableError,
)
from inference_worker.transport.subscriber import Subscriber

logger = logging.getLogger("cyllm.gateway.streams")

COMMAND_TIMEOUT_S = 3.0
CANCEL_WAIT_S = 3.0
POLL_INTERVAL_S = 1.0
MAX_EVENTS_READ = 512
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


class LogState(enum.StrEnum):
    """The state of a log. LOST: its gateway died."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Log:
    """A snapshot of a log; ``next_number`` is the number of the next event."""

    log_id: str
    tenant_id: str
    gateway_id: str
    kind: LogKind
    state: LogState
    next_number: int
    is_cancelled: bool


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event: its number, and its bytes without the blank line at their end."""

    number: int
    event: bytes
    is_last: bool


def state_after(error: ApiError) -> LogState:
    """Return the state of a log that its gateway ends with this error."""
    return LogState.CANCELLED if isinstance(error, RequestCancelled) else LogState.FAILED


class EventLogs:
    """Reads and writes event logs. All methods raise RedisUnavailable."""

    def __init__(self, redis_url: str, subscriber: Subscriber, gateway_id: str, limits: Limits) -> None:
        self.gateway_id = gateway_id
        self._limits = limits
        self._connection = RedisConnection(Address.from_url(redis_url))
        self._wakeups = Wakeups(subscriber)
        self._keep_ms = int(limits.stream_log_keep_s * 1000)
        self._running_ms = int(limits.total_timeout_s * 1000) + self._keep_ms + 60_000

    async def start(self) -> None:
        """Connect in the background."""
        await self._connection.start()

    async def stop(self) -> None:
        """Close the connection."""
        await self._connection.stop()

    async def create(self, log_id: str, tenant_id: str, kind: LogKind) -> None:
        """Create a log. Raises TooManyStreams if all logs that the tenant may have are running."""
        is_created = await self._run(
            CREATE,
            (names.stream_meta_key(log_id), names.stream_index_key(tenant_id), names.RUNNING_STREAMS),
            *(log_id, tenant_id, self.gateway_id, kind.value),
            *(self._running_ms, self._limits.stream_logs_per_tenant, names.stream_key("")),
        )
        if not is_created:
            raise TooManyStreams(limit=self._limits.stream_logs_per_tenant)

    async def append(
        self,
        log_id: str,
        tenant_id: str,
        number: int,
        events: Sequence[bytes],
        final_state: LogState | None = None,
    ) -> bool:
        """Append events, the first with this number, and return whether the log has been cancelled.

        Raises RequestCancelled if the log was deleted, or ended by another process.
        """
        arguments = append_arguments(
            log_id,
            number,
            events,
            max_bytes=self._limits.stream_log_bytes,
            keep_ms=self._keep_ms,
            final_state=final_state.value if final_state else "",
        )
        result = await self._run(APPEND, log_keys(log_id, tenant_id), *arguments)
        if result < 0:
            raise RequestCancelled() if result == -1 else InternalError()
        return bool(result)

    async def find(self, log_id: str, tenant_id: str) -> Log | None:
        """Return the tenant's log of this id, None if there is none or it belongs to another tenant."""
        if not _ID.fullmatch(log_id):
            return None
        fields = ("tenant", "gateway", "kind", "state", "next", "cancel")
        values = await self._call("HMGET", names.stream_meta_key(log_id), *fields)
        tenant, gateway, kind, state, number, cancel = (value and value.decode() for value in values)
        if tenant != tenant_id or state is None:
            return None
        return Log(log_id, tenant, gateway, LogKind(kind), LogState(state), int(number), bool(cancel))

    async def cancel(self, log: Log) -> Log | None:
        """Ask the gateway that writes the log to end it, and wait some seconds for the end.

        Returns the current log, None if it was deleted.
        """
        await self._run(
            CANCEL, (names.stream_meta_key(log.log_id),), names.CHANGES_CHANNEL, f"stream {log.log_id}"
        )
        return await self._wait_for_end(log, CANCEL_WAIT_S)

    async def delete(self, log_id: str, tenant_id: str) -> None:
        """Delete the log, and cancel the request that writes it."""
        channel = names.stream_channel(log_id)
        keys = log_keys(log_id, tenant_id)
        await self._run(DELETE, keys, log_id, channel, names.CHANGES_CHANNEL, f"stream {log_id}")

    async def follow(
        self, log: Log, after: int, poll_s: float = POLL_INTERVAL_S
    ) -> AsyncGenerator[list[LogEntry]]:
        """Yield the events after number ``after``, past and future, up to the last.

        Yields an empty list after each poll without events. Raises EventsExpired if the next event was
        dropped, StreamNotFound if the log is deleted.
        """
        presence = _Presence()
        with self._wakeups.watch(log.log_id) as growth:
            while True:
                growth.clear()
                entries = await self._read(log.log_id, after)
                if entries:
                    if entries[0].number != after + 1:
                        raise EventsExpired(first=entries[0].number)
                    after = entries[-1].number
                    yield entries
                    if entries[-1].is_last:
                        return
                elif log.state is not LogState.RUNNING and after + 1 >= log.next_number:
                    return
                elif not await _wait(growth, poll_s):
                    yield []
                    log = await self._refresh(log, presence)

    async def close_with(self, log: Log, error: ApiError, state: LogState) -> None:
        """End a log with an error event, whichever process writes it. An ended log stays unchanged."""
        events = closing_events(log.kind, error, log.next_number)
        try:
            await self.append(log.log_id, log.tenant_id, log.next_number, events, state)
        except RedisUnavailable:
            raise
        except ApiError:
            logger.debug("log %s had ended already", log.log_id)

    async def _wait_for_end(self, log: Log, timeout_s: float) -> Log | None:
        deadline = time.monotonic() + timeout_s
        with self._wakeups.watch(log.log_id) as growth:
            while True:
                growth.clear()
                current = await self.find(log.log_id, log.tenant_id)
                remaining_s = deadline - time.monotonic()
                if current is None or current.state is not LogState.RUNNING or remaining_s <= 0:
                    return current
                await _wait(growth, min(remaining_s, POLL_INTERVAL_S))

    async def _refresh(self, log: Log, presence: _Presence) -> Log:
        """Return the current log. If its gateway died, end the log, so that all readers see the same end."""
        current = await self.find(log.log_id, log.tenant_id)
        if current is None:
            raise StreamNotFound(id=log.log_id)
        if current.state is LogState.RUNNING:
            is_present = await self._call("EXISTS", names.gateway_key(current.gateway_id))
            if presence.is_lost(bool(is_present)):
                await self.close_with(current, StreamLost(), LogState.LOST)
        return current

    async def _read(self, log_id: str, after: int) -> list[LogEntry]:
        entries = await self._call(
            "XRANGE", names.stream_key(log_id), f"({after + 1}-0", "+", "COUNT", MAX_EVENTS_READ
        )
        return [
            LogEntry(int(entry_id.partition(b"-")[0]) - 1, fields[1], len(fields) > 2)
            for entry_id, fields in entries
        ]

    async def _run(self, script: LuaScript, keys: Sequence[str], *arguments: str | bytes | int) -> Any:
        try:
            return await self._execute("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except CommandRejectedError as rejection:
            if not str(rejection).startswith(NO_SCRIPT):
                raise RedisUnavailable() from None
        return await self._call("EVAL", script.text, len(keys), *keys, *arguments)

    async def _call(self, *command: str | bytes | int) -> Any:
        try:
            return await self._execute(*command)
        except CommandRejectedError:
            raise RedisUnavailable() from None

    async def _execute(self, *command: str | bytes | int) -> Any:
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                return await self._connection.call(*command)
        except CommandRejectedError:
            raise
        except (RedisUnavailableError, TimeoutError):
            raise RedisUnavailable() from None


class _Presence:
    """Distinguishes a dead gateway from a presence key that is missing for a moment."""

    def __init__(self) -> None:
        self._missing_since: float | None = None

    def is_lost(self, is_present: bool) -> bool:
        """Record a check, and return whether the key has been missing for several seconds."""
        now = time.monotonic()
        if is_present:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        if self._missing_since is None:
            return False
        return now - self._missing_since >= names.GATEWAY_DEAD_AFTER_S


async def _wait(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
