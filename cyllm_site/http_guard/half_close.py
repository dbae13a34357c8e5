"""Half-closed connections: a client that has sent its request may close its sending side.

TCP reports that in the same way as a client that has gone. The difference shows when data is sent: the
system of a client that has gone replies with a reset. So the server sends the next bytes of the response that
are certain, one at a time: those of "HTTP/1.1" before the status is known, and a leading zero of the next
chunk's size in a stream.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_CERTAIN_START = b"HTTP/1.1"
_MAX_ZEROS = 4  # clients limit the digits of a chunk's size, the strictest to 16
_FIRST_PROBE_S, _PROBE_FACTOR = 1.0, 2.0  # probes are few: their time doubles
_FIRST_CHECK_S, _LONGEST_CHECK_S = 0.005, 0.2


class ProbingTransport:
    """The transport of one response, which can send its next byte in advance."""

    def __init__(self, transport: asyncio.Transport, cycle: RequestResponseCycle) -> None:
        self._transport, self._cycle = transport, cycle
        self._start_bytes = self._zeros = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write what follows the bytes sent in advance."""
        start_bytes, self._start_bytes, self._zeros = self._start_bytes, 0, 0
        self._transport.write(data[start_bytes:])

    def probe(self) -> None:
        """Send a byte in advance, if one is certain."""
        if not self._cycle.response_started:
            byte = _CERTAIN_START[self._start_bytes : self._start_bytes + 1]
            self._start_bytes += len(byte)
        elif self._cycle.chunked_encoding and self._zeros < _MAX_ZEROS:
            byte = b"0"
            self._zeros += 1
        else:
            return
        if byte and not self._transport.is_closing():
            self._transport.write(byte)


def watch_peer(
    loop: asyncio.AbstractEventLoop,
    transport: asyncio.Transport,
    cycle: RequestResponseCycle,
    on_gone: Callable[[], None],
) -> None:
    """Call ``on_gone`` soon after the client turns out to have gone, unless the response is complete."""
    probing = ProbingTransport(transport, cycle)
    cycle.transport = probing  # type: ignore[assignment]  # it passes on everything else
    probe_at, probe_s, check_s = loop.time(), _FIRST_PROBE_S, _FIRST_CHECK_S

    def check() -> None:
        nonlocal probe_at, probe_s, check_s
        if cycle.response_complete or cycle.disconnected or transport.is_closing():
            return
        if _is_reset(transport):
            on_gone()
            return
        if loop.time() >= probe_at:
            probing.probe()
            probe_at, probe_s = loop.time() + probe_s, probe_s * _PROBE_FACTOR
        loop.call_later(check_s, check)
        check_s = min(2 * check_s, _LONGEST_CHECK_S)

    check()


def _is_reset(transport: asyncio.Transport) -> bool:
    """Return whether the peer has reset the connection. asyncio doesn't report it while nothing is read."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:
        return False
    poller = select.poll()
    poller.register(connection.fileno(), 0)  # errors and resets are always reported
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poller.poll(0))
