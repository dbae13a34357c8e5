"""Sockets of job pages: the events after a number, then those that follow, until the job has ended.

The page opens ``/console/ws/{tenant}/jobs/{job}/?after=number``. Frames are JSON: ``{"head": n}`` every 10 s,
``{"head": n, "events": […]}`` at most 4 times a second, ``{"head": n, "end": true}`` at the end. An event is
that of the API with its ``number``. The reader pulls: a slow one holds up nothing but itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError

from api.console.live.admission import Admission, Visitor, admit, is_same_origin, session_key

logger = logging.getLogger("cyllm.console.live")

HEARTBEAT_S = 10.0
CHECK_S = HEARTBEAT_S / 2  # between checks of access: a heartbeat can come a moment before its time
FRAME_INTERVAL_S = 0.25
SLOW_READER_S = 30.0
EVENTS_PER_FRAME = 256
WRONG_ORIGIN, TOO_SLOW, TOO_MANY, UNAVAILABLE = 4403, 4408, 4429, 1013
MAX_SOCKETS = 50  # of one session in this process
_PATH = re.compile(r"/console/ws/([a-z0-9-]{1,63})/jobs/(ftjob-[A-Za-z0-9]{1,58})/", re.ASCII)

_open_sockets: Counter[str] = Counter()

Message: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class Event(Protocol):
    """An event of a job: its number and its JSON."""

    @property
    def number(self) -> int:
        """The number."""

    @property
    def data(self) -> bytes:
        """The JSON of the event as in the API."""


class Feeds(Protocol):
    """The events of jobs, as the gateway reads them: once per job, for any number of readers."""

    def follow(self, job_id: str, after: int, pause_s: float) -> AsyncGenerator[Sequence[Any], None]:
        """Yield batches of events after a number until the job has ended; empty after ``pause_s``."""


async def serve_socket(scope: Message, receive: Receive, send: Send, feeds: Feeds) -> None:
    """Serve one socket until the job ends, the client leaves or the person loses access."""
    await receive()  # websocket.connect
    headers = dict(scope["headers"])
    match = _PATH.fullmatch(scope["path"])
    if match is None or not is_same_origin(headers):
        # Before acceptance, so no page of another site learns anything.
        await send({"type": "websocket.close", "code": WRONG_ORIGIN})
        return
    await send({"type": "websocket.accept"})
    visitor = Visitor(session_key(headers), match[1], match[2])
    if _open_sockets[visitor.session_key] >= MAX_SOCKETS:
        await send({"type": "websocket.close", "code": TOO_MANY})
        return
    _open_sockets[visitor.session_key] += 1
    try:
        await _run(visitor, _after(scope), receive, send, feeds)
    finally:
        _open_sockets[visitor.session_key] -= 1
        if not _open_sockets[visitor.session_key]:
            del _open_sockets[visitor.session_key]


async def _run(visitor: Visitor, after: int, receive: Receive, send: Send, feeds: Feeds) -> None:
    reading = asyncio.create_task(_read_until_disconnect(receive))
    sending = asyncio.create_task(_serve(visitor, after, send, feeds))
    await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
    for task in (reading, sending):
        task.cancel()
    await asyncio.gather(reading, sending, return_exceptions=True)
    if sending.cancelled():
        return
    code = sending.result() if sending.exception() is None else UNAVAILABLE
    if sending.exception() is not None:
        logger.warning("a socket of %s ends: %s", visitor.job_id, type(sending.exception()).__name__)
    with contextlib.suppress(Exception):  # the client may have left
        await send({"type": "websocket.close", "code": code})


async def _read_until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass


def _after(scope: Message) -> int:
    values = parse_qs(scope["query_string"].decode("latin-1")).get("after", ["0"])
    return int(values[0]) if re.fullmatch(r"\d{1,9}", values[0], re.ASCII) else 0


async def _serve(visitor: Visitor, after: int, send: Send, feeds: Feeds) -> int:
    """Send events; return the code that closes the socket. Raises errors of the database at the start."""
    verdict: Admission = await database_sync_to_async(admit)(visitor)
    if verdict is not Admission.ADMITTED:
        return int(verdict.value)
    checked_at = time.monotonic()
    try:
        async with contextlib.aclosing(feeds.follow(visitor.job_id, after, HEARTBEAT_S)) as batches:
            async for events in batches:
                if time.monotonic() - checked_at >= CHECK_S:
                    checked_at = time.monotonic()
                    if (verdict := await _check_again(visitor)) is not Admission.ADMITTED:
                        return int(verdict.value)
                after = events[-1].number if events else after
                await _send_events(events, after, send)
        await _send_text(f'{{"head":{after},"end":true}}', send)
    except TimeoutError:
        return TOO_SLOW
    return Admission.ADMITTED.value


async def _check_again(visitor: Visitor) -> Admission:
    try:
        verdict: Admission = await database_sync_to_async(admit)(visitor)
        return verdict
    except DatabaseError:
        # While the database is unavailable, there are no events to protect either.
        return Admission.ADMITTED


async def _send_events(events: Sequence[Event], head: int, send: Send) -> None:
    if not events:
        await _send_text(f'{{"head":{head}}}', send)
    for start in range(0, len(events), EVENTS_PER_FRAME):
        part = events[start : start + EVENTS_PER_FRAME]
        texts = ",".join(f'{{"number":{event.number},{event.data.decode()[1:]}' for event in part)
        await _send_text(f'{{"head":{part[-1].number},"events":[{texts}]}}', send)
        await asyncio.sleep(FRAME_INTERVAL_S)


async def _send_text(text: str, send: Send) -> None:
    async with asyncio.timeout(SLOW_READER_S):
        await send({"type": "websocket.send", "text": text})
