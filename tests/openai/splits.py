"""Chat responses, and all ways in which an engine may split them into the deltas of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

Delta = dict[str, Any]
EMPTY: list[Delta] = [{}, {"content": ""}, {"content": None}, {"reasoning": ""}, {"tool_calls": []}]


@dataclass(frozen=True)
class Call:
    """A tool call."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ChatResponse:
    """A complete response. Each character of its content is a token with a log probability."""

    reasoning: str
    content: str
    calls: tuple[Call, ...]
    finish_reason: str

    def message(self) -> dict[str, Any]:
        """Return the message of the response without streaming."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content or None}
        if self.reasoning:
            message["reasoning"] = self.reasoning
        if self.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in self.calls
            ]
        return message

    def delta(self) -> Delta:
        """Return the whole response as one delta."""
        calls = [{"index": index, **call} for index, call in enumerate(self.message().get("tool_calls", ()))]
        return {**self.message(), "tool_calls": calls} if calls else self.message()

    def chunks(self, deltas: list[Delta]) -> list[dict[str, Any]]:
        """Return a stream of these deltas with the final chunks of vLLM."""
        content_chunks: list[dict[str, Any]] = [{"choices": [_choice(delta)]} for delta in deltas]
        final_choice = {"index": 0, "delta": {"content": ""}, "finish_reason": self.finish_reason}
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        common_fields = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        chunks = [*content_chunks, {"choices": [final_choice]}, {"choices": [], "usage": usage}]
        return [{**common_fields, **chunk} for chunk in chunks]


def _choice(delta: Delta) -> dict[str, Any]:
    tokens: list[dict[str, Any]] = [
        {"token": char, "logprob": -1.0, "bytes": None, "top_logprobs": []}
        for char in delta.get("content") or ""
    ]
    logprobs = {"content": tokens} if tokens else None
    return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def cut_at(text: str, borders: list[int]) -> list[str]:
    """Return the text in pieces; pieces between equal borders are empty."""
    borders_with_ends = [0, *sorted(min(border, len(text)) for border in borders), len(text)]
    return [text[start:end] for start, end in pairwise(borders_with_ends)]


calls = st.builds(
    Call,
    id=st.uuids().map(str),
    name=st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
    arguments=st.text(min_size=1, max_size=24),
)
chat_responses = st.builds(
    ChatResponse,
    reasoning=st.text(max_size=16),
    content=st.text(max_size=16),
    calls=st.lists(calls, max_size=3, unique_by=lambda call: call.id).map(tuple),
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
)
_borders = st.lists(st.integers(0, 24), max_size=5)


@st.composite
def deltas(draw: st.DrawFn, chat: ChatResponse, *, tidy: bool) -> list[Delta]:
    """Draw a split of the response into deltas.

    ``tidy``: calls begin in their order, each with its id and name in its first fragment. Otherwise the
    stream keeps only the order that makes it readable: reasoning, then text, then calls.
    """
    parts: list[Delta] = [{"reasoning": piece} for piece in cut_at(chat.reasoning, draw(_borders))]
    parts += [{"content": piece} for piece in cut_at(chat.content, draw(_borders))]
    parts += [{"tool_calls": [fragment]} for fragment in draw(_interleaved(chat, tidy))]
    merged_deltas: list[Delta] = [{"role": "assistant", "content": ""}]
    for delta in parts:
        if draw(st.booleans()):
            merged_deltas.append(delta)
        else:
            merged_deltas[-1] = _merge(merged_deltas[-1], delta)
        if draw(st.integers(0, 4)) == 0:
            merged_deltas.append(draw(st.sampled_from(EMPTY)))
    return merged_deltas


def _merge(one: Delta, other: Delta) -> Delta:
    result = dict(one)
    for name, value in other.items():
        result[name] = result[name] + value if result.get(name) else value
    return result


@st.composite
def _interleaved(draw: st.DrawFn, chat: ChatResponse, tidy: bool) -> list[dict[str, Any]]:
    """Draw an interleaving of the calls' fragments that keeps the order within each call."""
    queues = [draw(_fragments(index, call, tidy)) for index, call in enumerate(chat.calls)]
    call_count = 0
    fragments = []
    while open_indexes := [
        index for index, queue in enumerate(queues) if queue and (index <= call_count or not tidy)
    ]:
        index = draw(st.sampled_from(open_indexes))
        call_count = max(call_count, index + 1)
        fragments.append(queues[index].pop(0))
    return fragments


@st.composite
def _fragments(draw: st.DrawFn, index: int, call: Call, tidy: bool) -> list[dict[str, Any]]:
    """Draw the fragments of a call: its name in pieces before the arguments, or whole at any position."""
    arguments = cut_at(call.arguments, draw(_borders))
    if tidy or draw(st.booleans()):
        names = cut_at(call.name, draw(_borders)) if draw(st.booleans()) else [call.name]
        functions = [{"name": piece, "arguments": ""} for piece in names]
        functions += [{"arguments": piece} for piece in arguments]
        id_at = 0 if tidy else draw(st.integers(0, len(functions) - 1))
    else:
        functions = [{"arguments": piece} for piece in arguments]
        functions.insert(draw(st.integers(0, len(functions))), {"name": call.name})
        id_at = draw(st.integers(0, len(functions) - 1))
    fragments: list[dict[str, Any]] = [{"index": index, "function": function} for function in functions]
    fragments[id_at] |= {"id": call.id, "type": "function"}
    return fragments
