"""Encoding and decoding of messages: one encoder, and one decoder per kind of message."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from inference_worker.protocol.faults import RequestFault
from inference_worker.protocol.messages import (
    Accepted,
    Command,
    Delta,
    Event,
    Fact,
    Failed,
    Finished,
    Frame,
    Heartbeat,
)

T = TypeVar("T")


class ProtocolError(ValueError):
    """The bytes are not a message of this protocol version. Holds the reason, never the bytes."""


class _TolerantFailed(Failed, frozen=True, kw_only=True, tag="failed"):
    """A failure with a fault of any kind, including unknown kinds."""

    fault: Any = None


class _TolerantFrame(Frame, frozen=True, kw_only=True, tag="frame"):
    events: tuple[Accepted | Delta | Finished | _TolerantFailed, ...]


_encoder = msgspec.msgpack.Encoder()
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_frame_decoder = msgspec.msgpack.Decoder(Frame)
_tolerant_frame_decoder = msgspec.msgpack.Decoder(_TolerantFrame)
_heartbeat_decoder = msgspec.msgpack.Decoder(Heartbeat)
_fact_decoder: msgspec.msgpack.Decoder[Fact] = msgspec.msgpack.Decoder(Fact)


def encode(message: Command | Frame | Heartbeat | Fact) -> bytes:
    """Encode a message of any kind."""
    return _encoder.encode(message)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(str(error)) from error


def decode_command(data: bytes) -> Command:
    """Decode a gateway's message to a worker. Raises ProtocolError."""
    return _decode(_command_decoder, data)


def decode_frame(data: bytes) -> Frame:
    """Decode a worker's frame to a gateway. Raises ProtocolError.

    Unknown kinds of faults, from a newer worker, become None, so the frame's other streams are not affected.
    """
    try:
        return _decode(_frame_decoder, data)
    except ProtocolError:
        frame = _decode(_tolerant_frame_decoder, data)
    return Frame(
        worker_id=frame.worker_id,
        lane=frame.lane,
        sequence=frame.sequence,
        events=tuple(map(_strict_event, frame.events)),
    )


def _strict_event(event: Accepted | Delta | Finished | _TolerantFailed) -> Event:
    if not isinstance(event, _TolerantFailed):
        return event
    return Failed(**{**msgspec.structs.asdict(event), "fault": _known_fault(event.fault)})


def _known_fault(value: object) -> RequestFault | None:
    try:
        fault: RequestFault | None = msgspec.convert(value, RequestFault | None)
    except msgspec.ValidationError:
        return None
    return fault


def decode_heartbeat(data: bytes) -> Heartbeat:
    """Decode a worker's entry in the worker directory. Raises ProtocolError."""
    return _decode(_heartbeat_decoder, data)


def decode_fact(data: bytes) -> Fact:
    """Decode an entry of the facts stream. Raises ProtocolError."""
    return _decode(_fact_decoder, data)
