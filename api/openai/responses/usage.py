"""The usage of a chat in the form that responses have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
