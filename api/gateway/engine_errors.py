"""Translates what a worker or engine reports into the catalogue; engine texts pass for 4xx alone."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from api.openai.errors import ApiError, shown
from inference_worker.client.interface import Lost
from inference_worker.protocol.messages import Failed, FailureKind, Operation

logger = logging.getLogger("cyllm.gateway.engine")

RETRIED_KINDS = frozenset({FailureKind.REFUSED, FailureKind.UPSTREAM})
CLIENT_FAULTS = frozenset({400, 413, 422})
MAX_REASON = 200

# The wordings of vLLM 0.32 (renderers/params.py, entrypoints/serve/utils/api_utils.py).
_CONTEXT = re.compile(r"maximum context length (?:is |\()(\d+)")
_PROMPT_TOKENS = re.compile(r"(?:contains (at least )?|Input length \()(\d+)(?: input tokens|\))")
_PROMPT_CHARACTERS = re.compile(r"contains (\d+) characters")
_LIMIT_ABOVE = re.compile(r"(max_\w*tokens)=(\d+) cannot be greater than max_model_len=(\d+)")
_NO_TOOLS = re.compile(r"tool choice requires|tool-call-parser|enable-auto-tool-choice")
_NO_DIMENSIONS = re.compile(r"does not support Matryoshka")
_DIMENSIONS = re.compile(r"only supports (?:Matryoshka )?dimensions (.+), got (\d+)")
_OUT_OF_VOCABULARY = re.compile(r"Token id (\d+) is out of vocabulary")
_DETAILS = re.compile(r"\s*\(parameter=.*\)$", re.DOTALL)
# What holds the text or the token ids.
_PROMPT = {
    Operation.CHAT_COMPLETIONS: "messages",
    Operation.COMPLETIONS: "prompt",
    Operation.EMBEDDINGS: "input",
    Operation.TOKENIZE: "prompt",
    Operation.DETOKENIZE: "tokens",
}


def may_move(event: Failed | Lost) -> bool:
    """Whether another worker may be asked instead, if the client has nothing of the answer yet."""
    return isinstance(event, Lost) or event.kind in RETRIED_KINDS


def error_of(event: Failed | Lost, operation: Operation, elapsed_s: float) -> ApiError:
    """The error that a client gets for the end of an attempt. ``elapsed_s``: since it was submitted."""
    if isinstance(event, Lost):
        return _lost(event.cause)
    match event.kind:
        case FailureKind.REFUSED:
            return ApiError("no_worker_available")
        case FailureKind.CANCELLED:
            return ApiError("worker_lost")
        case FailureKind.UPSTREAM:
            return _upstream(event, elapsed_s)
        case FailureKind.REQUEST if event.status in CLIENT_FAULTS:
            return _client_fault(event.detail, operation)
        case FailureKind.REQUEST if event.status == 429:
            return ApiError("overloaded")
    logger.error("engine failed with status %d (%s)", event.status, event.kind)
    return ApiError("engine_error")


def _lost(cause: str) -> ApiError:
    codes = {"events_lost": "events_lost", "transport_lost": "redis_unavailable"}
    return ApiError(codes.get(cause, "worker_lost"))


def _upstream(event: Failed, elapsed_s: float) -> ApiError:
    limit_s = _error_object(event.detail).get("limit_s")
    if event.status == 504 and isinstance(limit_s, int | float):
        return ApiError("upstream_timeout", elapsed_s=elapsed_s, limit_s=limit_s)
    return ApiError("overloaded" if event.status == 503 else "upstream_error")


def _client_fault(detail: str, operation: Operation) -> ApiError:
    message, param = _parsed(detail)
    if (error := _context_error(message, operation)) is not None:
        return error
    if _NO_TOOLS.search(message):
        return ApiError("unsupported_parameter", param="tools", reason="this model is served without tools")
    if (error := _embedding_error(message)) is not None:
        return error
    if found := _OUT_OF_VOCABULARY.search(message):
        reason = f"{found.group(1)} is no token id of this model"
        return ApiError("invalid_value", param=_PROMPT[operation], reason=reason)
    line = next(iter(_DETAILS.sub("", message).strip().splitlines()), "")
    reason = shown(line.rstrip("."))[:MAX_REASON] or "the engine refused it"
    if param:
        return ApiError("invalid_value", param=param, reason=reason)
    return ApiError("invalid_request", reason=reason)


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
        return ApiError(
            "context_length_exceeded", param=name, limit=limit, found=f"'{name}' set to {found} tokens"
        )
    context = _CONTEXT.search(message)
    if context is None:
        return None
    found, limit = _prompt_length(message), context.group(1)
    return ApiError("context_length_exceeded", param=_PROMPT[operation], limit=limit, found=found)


def _embedding_error(message: str) -> ApiError | None:
    if _NO_DIMENSIONS.search(message):
        reason = "the vectors of this model have one length"
        return ApiError("unsupported_parameter", param="dimensions", reason=reason)
    if found := _DIMENSIONS.search(message):
        reason = f"this model has {shown(found.group(1))}, not {found.group(2)}"
        return ApiError("invalid_value", param="dimensions", reason=reason)
    return None


def _prompt_length(message: str) -> str:
    if tokens := _PROMPT_TOKENS.search(message):
        return f"a prompt of {tokens.group(1) or ''}{tokens.group(2)} tokens"
    if characters := _PROMPT_CHARACTERS.search(message):
        return f"a prompt of {characters.group(1)} characters"
    return "a longer prompt"
