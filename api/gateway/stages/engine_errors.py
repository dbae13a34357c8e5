"""Translates what a worker or engine reports into the catalogue; engine texts pass for 4xx alone."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from api.gateway.stages.context_length import PROMPTS, context_error, overlong
from api.openai.errors.base import ApiError, printable
from api.openai.errors.parameters import AnswerTooLarge, InvalidRequest, InvalidValue, UnsupportedParameter
from api.openai.errors.service import (
    CoordinationUnavailable,
    EngineError,
    EventsLost,
    NoWorkerAvailable,
    Overloaded,
    UpstreamError,
    UpstreamTimeout,
    WorkerLost,
)
from inference_worker.client.interface import Lost
from inference_worker.protocol.messages import Failed, FailureKind, Operation

logger = logging.getLogger("cyllm.gateway.engine")

RETRIED_KINDS = frozenset({FailureKind.REFUSED, FailureKind.UPSTREAM})
CLIENT_FAULTS = frozenset({400, 413, 422})
MAX_REASON = 200

# OpenAI's wordings, which are our workers' as well, then those of vLLM 0.32 (renderers/params.py,
# entrypoints/serve/utils/api_utils.py).
_REQUESTED = re.compile(r"(\d+) in (?:the|your) \w+[,;] (\d+) (?:in|for) the completion")
_RESULTED = re.compile(r"resulted in (\d+) tokens")
_CONTEXT = re.compile(r"maximum context length (?:is |\()(\d+)")
_PROMPT_TOKENS = re.compile(r"(?:contains (at least )?|Input length \()(\d+)(?: input tokens|\))")
_PROMPT_CHARACTERS = re.compile(r"contains (\d+) characters")
_LIMIT_ABOVE = re.compile(r"(max_\w*tokens)=(\d+) cannot be greater than max_model_len=(\d+)")
_NO_TOOLS = re.compile(r"tool choice requires|tool-call-parser|enable-auto-tool-choice")
_NO_DIMENSIONS = re.compile(r"does not support Matryoshka")
_DIMENSIONS = re.compile(r"only supports (?:Matryoshka )?dimensions (.+), got (\d+)")
_OUT_OF_VOCABULARY = re.compile(r"Token id (\d+) is out of vocabulary")
_DETAILS = re.compile(r"\s*\(parameter=.*\)$", re.DOTALL)


def may_move(event: Failed | Lost) -> bool:
    """Whether another worker may be asked instead, if the client has nothing of the answer yet."""
    return isinstance(event, Lost) or event.kind in RETRIED_KINDS


def error_of(event: Failed | Lost, operation: Operation, elapsed_s: float) -> ApiError:
    """The error that a client gets for the end of an attempt. ``elapsed_s``: since it was submitted."""
    if isinstance(event, Lost):
        return _lost(event.cause)
    match event.kind:
        case FailureKind.REFUSED:
            return NoWorkerAvailable()
        case FailureKind.CANCELLED:
            return WorkerLost()
        case FailureKind.UPSTREAM:
            return _upstream(event, elapsed_s)
        case FailureKind.REQUEST if event.status in CLIENT_FAULTS:
            return _client_fault(event.detail, operation)
        case FailureKind.REQUEST if event.status == 429:
            return Overloaded()
    logger.error("engine failed with status %d (%s)", event.status, event.kind)
    return EngineError()


def _lost(cause: str) -> ApiError:
    if cause == "events_lost":
        return EventsLost()
    return CoordinationUnavailable() if cause == "transport_lost" else WorkerLost()


def _upstream(event: Failed, elapsed_s: float) -> ApiError:
    limit_s = _error_object(event.detail).get("limit_s")
    if event.status == 504 and isinstance(limit_s, int | float):
        return UpstreamTimeout(elapsed_s=elapsed_s, limit_s=limit_s)
    return Overloaded() if event.status == 503 else UpstreamError()


def _client_fault(detail: str, operation: Operation) -> ApiError:
    size = _error_object(detail)
    if isinstance(size.get("answer_bytes"), int) and isinstance(size.get("limit_bytes"), int):
        return AnswerTooLarge(size=size["answer_bytes"], limit=size["limit_bytes"])
    message, param = _parsed(detail)
    if (error := _context_error(message, operation)) is not None:
        return error
    if _NO_TOOLS.search(message):
        return UnsupportedParameter(param="tools", reason="this model is served without tools")
    if (error := _embedding_error(message)) is not None:
        return error
    if found := _OUT_OF_VOCABULARY.search(message):
        reason = f"{found.group(1)} is no token id of this model"
        return InvalidValue(param=PROMPTS[operation], reason=reason)
    line = next(iter(_DETAILS.sub("", message).strip().splitlines()), "")
    reason = printable(line.rstrip("."))[:MAX_REASON] or "the engine refused it"
    if param:
        return InvalidValue(param=param, reason=reason)
    return InvalidRequest(reason=reason)


def _parsed(detail: str) -> tuple[str, str | None]:
    error = _error_object(detail)
    message, param = error.get("message"), error.get("param")
    return (
        message if isinstance(message, str) else "",
        param if isinstance(param, str) and param else None,
    )


def _error_object(detail: str) -> dict[str, Any]:
    """The error in an engine's body: OpenAI's format, with or without the envelope; empty for others."""
    try:
        body: Any = json.loads(detail)
    except ValueError:
        return {}
    error = body.get("error", body) if isinstance(body, dict) else {}
    return error if isinstance(error, dict) else {}


def _context_error(message: str, operation: Operation) -> ApiError | None:
    if above := _LIMIT_ABOVE.search(message):
        name, found, limit = above.groups()
        return overlong(operation, limit, f"you requested {found} tokens in the completion", f"'{name}'")
    context = _CONTEXT.search(message)
    if context is None:
        return None
    limit = context.group(1)
    if found := _REQUESTED.search(message):
        return context_error(operation, int(limit), int(found.group(1)), int(found.group(2)))
    if found := _RESULTED.search(message):
        return context_error(operation, int(limit), int(found.group(1)), None)
    return overlong(operation, limit, _prompt_length(message, PROMPTS[operation]))


def _embedding_error(message: str) -> ApiError | None:
    if _NO_DIMENSIONS.search(message):
        reason = "the vectors of this model have one length"
        return UnsupportedParameter(param="dimensions", reason=reason)
    if found := _DIMENSIONS.search(message):
        reason = f"this model has {printable(found.group(1))}, not {found.group(2)}"
        return InvalidValue(param="dimensions", reason=reason)
    return None


def _prompt_length(message: str, part: str) -> str:
    if tokens := _PROMPT_TOKENS.search(message):
        return f"your {part} resulted in {tokens.group(1) or ''}{tokens.group(2)} tokens"
    if characters := _PROMPT_CHARACTERS.search(message):
        return f"your {part} has {characters.group(1)} characters, which are more tokens than that"
    return f"your {part} resulted in more"
