"""Bytes to messages and back, one encoder and one decoder per direction."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from inference_worker.protocol.messages import Command, Fact, Frame, Heartbeat

T = TypeVar("T")


class ProtocolError(ValueError):
    """Bytes that are no message of this protocol version. Holds the reason, never the bytes."""


_encoder = msgspec.msgpack.Encoder()
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_frame_decoder = msgspec.msgpack.Decoder(Frame)
_heartbeat_decoder = msgspec.msgpack.Decoder(Heartbeat)
_fact_decoder: msgspec.msgpack.Decoder[Fact] = msgspec.msgpack.Decoder(Fact)


def encode(message: Command | Frame | Heartbeat | Fact) -> bytes:
    """The bytes of any message."""
    return _encoder.encode(message)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(str(error)) from error


def decode_command(data: bytes) -> Command:
    """A gateway's message to a worker. Raises ProtocolError."""
    return _decode(_command_decoder, data)


def decode_frame(data: bytes) -> Frame:
    """A worker's frame to a gateway. Raises ProtocolError."""
    return _decode(_frame_decoder, data)


def decode_heartbeat(data: bytes) -> Heartbeat:
    """A worker's entry in the registry. Raises ProtocolError."""
    return _decode(_heartbeat_decoder, data)


def decode_fact(data: bytes) -> Fact:
    """An entry of the facts stream. Raises ProtocolError."""
    return _decode(_fact_decoder, data)
