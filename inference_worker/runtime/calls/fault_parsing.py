"""Parses an engine's error bodies, in OpenAI's format, into typed faults by OpenAI's and vLLM's wordings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from inference_worker.protocol.faults import (
    ContextOverflow,
    DimensionsUnsupported,
    InvalidDimensions,
    InvalidParameter,
    OtherFault,
    RequestFault,
    ToolsUnsupported,
    UnknownTokenId,
)

MAX_REASON_LENGTH = 400
PARAMETER_SUFFIX = "(parameter="

# OpenAI's wordings, then those of vLLM 0.32 (renderers/params.py, entrypoints/serve/utils/api_utils.py,
# pooling_params.py). Integers are bounded by what the encoding of a fault can hold, and gaps so that a
# search takes linear time: the worker parses these bodies in its event loop.
_INT = r"(?<!\d)(\d{1,18})(?!\d)"
_PROMPT_AND_COMPLETION = re.compile(rf"{_INT} in (?:the|your) \w+[,;] {_INT} (?:in|for) the completion")
_PROMPT_ALONE = re.compile(rf"resulted in {_INT} tokens")
_CONTEXT_LIMIT = re.compile(rf"maximum context length (?:is |\(){_INT}")
_PROMPT_TOKENS = re.compile(rf"(?:contains (at least )?|Input length \(){_INT}(?: input tokens|\))")
_PROMPT_CHARACTERS = re.compile(rf"contains {_INT} characters")
_LIMIT_ABOVE_CONTEXT = re.compile(
    rf"(max_\w{{0,64}}tokens)={_INT} cannot be greater than max_model_len={_INT}"
)
_NO_TOOLS = re.compile(r"tool choice requires|tool-call-parser|enable-auto-tool-choice")
_NO_DIMENSIONS = re.compile(r"does not support Matryoshka")
_DIMENSIONS = re.compile(rf"only supports (?:Matryoshka )?dimensions (.{{1,1000}}), got {_INT}")
_OUT_OF_VOCABULARY = re.compile(rf"Token id {_INT} is out of vocabulary")
_SURROGATES = re.compile("[\ud800-\udfff]")

# All wordings of vLLM 0.32 for a context overflow (the above, sampling_params.py and
# v1/engine/input_processor.py). With a full context, vLLM sets max_tokens to 0.
_ANY_OVERFLOW = re.compile(
    rb"maximum context length|cannot be greater than max_model_len|maximum\s+model length"
    rb"|max_tokens must be at least 1, got 0"
)


def is_context_overflow(body: bytes) -> bool:
    """Return whether an engine's error body reports a context overflow."""
    return _ANY_OVERFLOW.search(body) is not None


def error_status(body: str) -> int:
    """Return the HTTP status in the body of an engine's error event, 0 if it has none."""
    status = _error_object(body).get("code")
    return status if isinstance(status, int) else 0


def parse_fault(body: str) -> RequestFault:
    """Return the fault that the body of an engine's error response reports."""
    error = _error_object(body)
    message, param = error.get("message"), error.get("param")
    text = _encodable(message) if isinstance(message, str) else ""
    for parse in _PARSERS:
        if (fault := parse(text)) is not None:
            return fault
    reason = _first_line(text)
    if isinstance(param, str) and param:
        return InvalidParameter(param=_encodable(param)[:MAX_REASON_LENGTH], reason=reason)
    return OtherFault(reason=reason)


def _error_object(body: str) -> dict[str, Any]:
    """Return the error in OpenAI's format, with or without the envelope; empty for any other body."""
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = document.get("error", document) if isinstance(document, dict) else {}
    return error if isinstance(error, dict) else {}


def _encodable(text: str) -> str:
    """Return text without unpaired surrogates, which JSON can contain but a message can't."""
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def _first_line(message: str) -> str:
    if message.endswith((")", ")\n")):
        message = message.partition(PARAMETER_SUFFIX)[0]
    line = next(iter(message.strip().splitlines()), "")
    return line.rstrip(".")[:MAX_REASON_LENGTH]


def _limit_above_context(message: str) -> ContextOverflow | None:
    if (match := _LIMIT_ABOVE_CONTEXT.search(message)) is None:
        return None
    return ContextOverflow(
        limit_tokens=int(match[3]), completion_tokens=int(match[2]), limiting_param=match[1]
    )


def _context_overflow(message: str) -> ContextOverflow | None:
    if (match := _CONTEXT_LIMIT.search(message)) is None:
        return None
    limit = int(match[1])
    if match := _PROMPT_AND_COMPLETION.search(message):
        return ContextOverflow(
            limit_tokens=limit, prompt_tokens=int(match[1]), completion_tokens=int(match[2])
        )
    if match := _PROMPT_ALONE.search(message):
        return ContextOverflow(limit_tokens=limit, prompt_tokens=int(match[1]))
    if match := _PROMPT_TOKENS.search(message):
        return ContextOverflow(limit_tokens=limit, prompt_tokens=int(match[2]), at_least=bool(match[1]))
    if match := _PROMPT_CHARACTERS.search(message):
        return ContextOverflow(limit_tokens=limit, prompt_characters=int(match[1]))
    return ContextOverflow(limit_tokens=limit)


def _tools_unsupported(message: str) -> ToolsUnsupported | None:
    return ToolsUnsupported() if _NO_TOOLS.search(message) else None


def _dimensions(message: str) -> DimensionsUnsupported | InvalidDimensions | None:
    if _NO_DIMENSIONS.search(message):
        return DimensionsUnsupported()
    if match := _DIMENSIONS.search(message):
        return InvalidDimensions(dimensions=int(match[2]), supported=match[1][:MAX_REASON_LENGTH])
    return None


def _unknown_token_id(message: str) -> UnknownTokenId | None:
    match = _OUT_OF_VOCABULARY.search(message)
    return None if match is None else UnknownTokenId(token_id=int(match[1]))


_PARSERS: tuple[Callable[[str], RequestFault | None], ...] = (
    _limit_above_context,
    _context_overflow,
    _tools_unsupported,
    _dimensions,
    _unknown_token_id,
)
