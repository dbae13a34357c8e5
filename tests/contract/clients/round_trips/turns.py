"""Checks of answers, and a report of all conversations as JSON: each name with ``ok`` or the error."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

QUESTIONS = ("How is the weather in Rome?", "And tomorrow?", "Thank you. And in Lima?")
TOOL_RESULT = "It rains."


def expect_text(text: str | None, turn: int) -> None:
    """Check that the answer counts the questions up to this turn, so that none was lost."""
    assert text == f"This is answer {turn}.", f"turn {turn}: {text!r}"


def expect_tool_text(text: str | None) -> None:
    """Check that the answer repeats the tool's result."""
    assert f"{text}".startswith("The tool said: "), repr(text)
    assert "rain" in f"{text}", repr(text)


def report(*conversations: Callable[[], Any]) -> None:
    """Run each conversation and print how it went."""
    results = {}
    for conversation in conversations:
        try:
            asyncio.run(conversation()) if iscoroutinefunction(conversation) else conversation()
            results[conversation.__name__] = "ok"
        except Exception:
            results[conversation.__name__] = traceback.format_exc()[-1800:]
    print("\n" + json.dumps(results))
