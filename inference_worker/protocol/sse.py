"""Framing of server-sent events, from engines and to clients.

An event is bytes without the blank line at its end; a stream is any number of whole events. A comment is a
line between events. A blank line after it would dispatch an empty event in clients that have seen an id.
"""

from __future__ import annotations

from collections.abc import Iterable

DATA = b"data: "
END = b"\n\n"
DONE = DATA + b"[DONE]"
COMMENT = b": waiting\n"


def data_event(data: bytes) -> bytes:
    """Return an event with this payload, which must not contain line breaks."""
    return DATA + data


def named_event(name: str, data: bytes) -> bytes:
    """Return an event with a type, as in the Responses API."""
    return b"event: %s\ndata: %s" % (name.encode(), data)


def numbered_event(number: int, event: bytes) -> bytes:
    """Return the event with an id, after which a client may resume."""
    return b"id: %d\n%s" % (number, event)


def join_events(events: Iterable[bytes]) -> bytes:
    """Return the stream of these events."""
    return b"".join([event + END for event in events])


def split_events(stream: bytes) -> list[bytes]:
    """Return the events of a stream that contains whole events only, without its comments."""
    return [event for block in stream.split(END) if (event := without_comments(block))]


def without_comments(block: bytes) -> bytes:
    """Return the lines of a block that are not comments."""
    if not block.startswith(b":") and b"\n:" not in block:
        return block
    return b"\n".join(line for line in block.split(b"\n") if not line.startswith(b":"))
