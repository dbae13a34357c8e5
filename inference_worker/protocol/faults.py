"""Faults: the typed reasons why an engine failed a request. The gateway maps them to API errors.

They are encoded like messages. A new kind of fault needs no new protocol version: a gateway that does not
know it treats the failure as one without a fault (``codec.decode_frame``).
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class _Fault(msgspec.Struct, frozen=True, array_like=True):
    """Base of all faults: immutable, encoded as an array in field order."""


class ContextOverflow(_Fault, frozen=True, kw_only=True, tag="context_overflow"):
    """The request exceeds the model's context of ``limit_tokens``.

    Counts are None if the engine did not state them. ``completion_tokens`` is also None if the prompt alone
    is too long. ``at_least``: ``prompt_tokens`` is a lower bound. ``limiting_param``: the parameter that
    alone asks for more than the context.
    """

    limit_tokens: int
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_characters: int | None = None
    at_least: bool = False
    limiting_param: str | None = None


class ResponseTooLarge(_Fault, frozen=True, kw_only=True, tag="response_too_large"):
    """The response, which is not streamed, exceeds the limit of the relay."""

    response_bytes: int
    limit_bytes: int


class UpstreamSilence(_Fault, frozen=True, kw_only=True, tag="upstream_silence"):
    """A remote engine sent nothing for ``limit_s`` seconds."""

    limit_s: float


class ToolsUnsupported(_Fault, frozen=True, kw_only=True, tag="tools_unsupported"):
    """The model is served without a parser for tool calls."""


class DimensionsUnsupported(_Fault, frozen=True, kw_only=True, tag="dimensions_unsupported"):
    """The model's embeddings have a fixed length."""


class InvalidDimensions(_Fault, frozen=True, kw_only=True, tag="invalid_dimensions"):
    """The model's embeddings cannot have this length. ``supported``: the engine's list of valid lengths."""

    dimensions: int
    supported: str


class UnknownTokenId(_Fault, frozen=True, kw_only=True, tag="unknown_token_id"):
    """The prompt has a token id outside the model's vocabulary."""

    token_id: int


class InvalidParameter(_Fault, frozen=True, kw_only=True, tag="invalid_parameter"):
    """The engine rejected the value of a parameter. ``reason`` is its own text."""

    param: str
    reason: str


class AdapterFault(_Fault, frozen=True, kw_only=True, tag="adapter"):
    """The worker can't use the request's adapter. ``reason`` is for logs only."""

    reason: str


class OtherFault(_Fault, frozen=True, kw_only=True, tag="other"):
    """The engine rejected the request. ``reason`` is its own text, empty if it gave none."""

    reason: str


RequestFault: TypeAlias = (
    ContextOverflow
    | ResponseTooLarge
    | UpstreamSilence
    | ToolsUnsupported
    | DimensionsUnsupported
    | InvalidDimensions
    | UnknownTokenId
    | InvalidParameter
    | OtherFault
    | AdapterFault
)
