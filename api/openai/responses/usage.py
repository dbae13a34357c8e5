"""Usage and errors in the form that responses have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.openai.errors import ApiError


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


def error_of(error: ApiError) -> dict[str, Any]:
    """The ``error`` of a failed response. Its codes are a closed list that knows few of the catalogue."""
    code = "invalid_prompt" if error.status in (400, 404, 413) else "server_error"
    return {"code": code, "message": error.message, "param": error.param, "type": error.spec.type}
