"""Fields of a response object: ids, usage, and the echo of its request."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Literal

from api.openai.responses.schema import ResponseRequest

Prefix = Literal["resp", "msg", "fc", "fco", "rs", "call"]


def new_id(prefix: Prefix) -> str:
    """An id that can't be guessed: 192 random bits."""
    return f"{prefix}_{secrets.token_hex(24)}"


def usage_of(chat: Mapping[str, Any]) -> dict[str, Any]:
    """A chat usage as that of a response. Counts that an engine doesn't give are 0."""
    prompt = chat.get("prompt_tokens_details") or {}
    completion = chat.get("completion_tokens_details") or {}
    input_tokens, output_tokens = chat.get("prompt_tokens") or 0, chat.get("completion_tokens") or 0
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {
            "cached_tokens": prompt.get("cached_tokens") or 0,
            "cache_write_tokens": prompt.get("created_cache_tokens") or 0,
        },
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": completion.get("reasoning_tokens") or 0},
        "total_tokens": input_tokens + output_tokens,
    }


_PLAIN_TEXT = {"type": "text"}


def echo_of(request: ResponseRequest, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The request's part of the response object.

    Temperature and top_p are null if not given: then the model's own defaults hold.
    """
    text = fields.get("text", {}).get("format", _PLAIN_TEXT)
    effort = request.reasoning.effort if request.reasoning is not None else None
    return {
        "background": bool(request.background),
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": None,
        "metadata": dict(request.metadata or {}),
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": effort, "summary": None},
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": request.store is not False,
        "temperature": request.temperature,
        "text": {"format": dict(text), "verbosity": "medium"},
        "tool_choice": fields.get("tool_choice", "auto"),
        "tools": [_tool(tool) for tool in fields.get("tools", ())],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "user": request.user,
    }


def _tool(given: Mapping[str, Any]) -> dict[str, Any]:
    absent = {"description": None, "parameters": None, "strict": None}
    return {**absent, **given}
