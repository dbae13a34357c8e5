"""Fields of a response object: ids, usage, and the parameters that it repeats."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from api.openai.responses.schemas.request import ResponseRequest
from api.openai.responses.tool_names import OfferedFunction
from api.openai.schemas.policies import engine_fields

IdPrefix = Literal["resp", "msg", "fc", "fco", "rs", "call", "ctc", "ctco", "cmp", "item"]

_PLAIN_TEXT = {"type": "text"}
SAMPLING_DEFAULTS: Mapping[str, float] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
_OPTIONAL_FORMAT_FIELDS = {"description": None, "strict": False}
_OPTIONAL_TOOL_FIELDS = {"description": None, "parameters": None, "strict": None}


def new_id(prefix: IdPrefix) -> str:
    """Return an unguessable id, with 192 random bits."""
    return f"{prefix}_{secrets.token_hex(24)}"


def response_usage(chat_usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chat usage in the form of a response. Counts that the engine omits are 0."""
    prompt = chat_usage.get("prompt_tokens_details") or {}
    completion = chat_usage.get("completion_tokens_details") or {}
    input_tokens = chat_usage.get("prompt_tokens") or 0
    output_tokens = chat_usage.get("completion_tokens") or 0
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {
            "cached_tokens": prompt.get("cached_tokens") or 0,
            "cache_write_tokens": prompt.get("cache_write_tokens") or 0,
        },
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": completion.get("reasoning_tokens") or 0},
        "total_tokens": input_tokens + output_tokens,
    }


def request_echo(
    request: ResponseRequest, fields: Mapping[str, Any], functions: Sequence[OfferedFunction]
) -> dict[str, Any]:
    """Return the parameters that the response object repeats, without the sampling parameters.

    ``functions``: all functions of its tools. Those of namespaces are repeated
    one by one, and tools that are not offered are omitted.
    """
    text_format = fields.get("text", {}).get("format", _PLAIN_TEXT)
    if text_format["type"] == "json_schema":
        text_format = {**_OPTIONAL_FORMAT_FIELDS, **text_format}
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
        "store": request.store is not False,
        "text": {"format": dict(text_format), "verbosity": "medium"},
        "tool_choice": fields.get("tool_choice", "auto"),
        "tools": [
            {**_OPTIONAL_TOOL_FIELDS, **engine_fields(entry.function), "name": entry.model_name}
            for entry in functions
        ],
        "top_logprobs": request.top_logprobs or 0,
        "truncation": "disabled",
        "user": request.user,
    }


def effective_sampling(
    chat_fields: Mapping[str, Any], model_defaults: Mapping[str, float]
) -> dict[str, float]:
    """Return the sampling parameters that apply: the request's, else the model's, else OpenAI's defaults."""
    defaults = {**SAMPLING_DEFAULTS, **model_defaults}
    return {name: float(chat_fields.get(name, defaults[name])) for name in SAMPLING_DEFAULTS}
