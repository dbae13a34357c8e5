"""What a response repeats of its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.openai.responses.schema import ResponseRequest

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
