"""Chat answers, and the ways in which an engine may split them into the deltas of a stream."""

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
class Answer:
    """A whole answer. Each character of the content is a token, with a log probability."""

    reasoning: str
    content: str
    calls: tuple[Call, ...]
    finish_reason: str

    def message(self) -> dict[str, Any]:
        """The message of a plain answer."""
        said: dict[str, Any] = {"role": "assistant", "content": self.content or None}
        if self.reasoning:
            said["reasoning"] = self.reasoning
        if self.calls:
            said["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in self.calls
            ]
        return said

    def delta(self) -> Delta:
        """All in one delta."""
        calls = [{"index": index, **call} for index, call in enumerate(self.message().get("tool_calls", ()))]
        return {**self.message(), "tool_calls": calls} if calls else self.message()

    def chunks(self, deltas: list[Delta]) -> list[dict[str, Any]]:
        """A stream of these deltas, as vLLM ends it."""
        body: list[dict[str, Any]] = [{"choices": [_choice(delta)]} for delta in deltas]
        ended = {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": self.finish_reason}]}
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        shape = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return [{**shape, **chunk} for chunk in [*body, ended, {"choices": [], "usage": usage}]]


def _choice(delta: Delta) -> dict[str, Any]:
    tokens: list[dict[str, Any]] = [
        {"token": char, "logprob": -1.0, "bytes": None, "top_logprobs": []}
        for char in delta.get("content") or ""
    ]
    logprobs = {"content": tokens} if tokens else None
    return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def cut_at(text: str, borders: list[int]) -> list[str]:
    """The text in pieces; pieces between equal borders are empty."""
    places = [0, *sorted(min(border, len(text)) for border in borders), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


calls = st.builds(
    Call,
    id=st.uuids().map(str),
    name=st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
    arguments=st.text(min_size=1, max_size=24),
)
answers = st.builds(
    Answer,
    reasoning=st.text(max_size=16),
    content=st.text(max_size=16),
    calls=st.lists(calls, max_size=3, unique_by=lambda call: call.id).map(tuple),
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
)
_borders = st.lists(st.integers(0, 24), max_size=5)


@st.composite
def deltas(draw: st.DrawFn, answer: Answer, *, tidy: bool) -> list[Delta]:
    """The answer in deltas. ``tidy``: calls begin in their order, with their ids and names at the front.

    Otherwise only what makes a stream readable at all is kept: reasoning, then text, then calls.
    """
    found: list[Delta] = [{"reasoning": piece} for piece in cut_at(answer.reasoning, draw(_borders))]
    found += [{"content": piece} for piece in cut_at(answer.content, draw(_borders))]
    found += [{"tool_calls": [fragment]} for fragment in draw(_interleaved(answer, tidy))]
    grouped: list[Delta] = [{"role": "assistant", "content": ""}]
    for delta in found:
        if draw(st.booleans()):
            grouped.append(delta)
        else:
            grouped[-1] = _joined(grouped[-1], delta)
        if draw(st.integers(0, 4)) == 0:
            grouped.append(draw(st.sampled_from(EMPTY)))
    return grouped


def _joined(one: Delta, other: Delta) -> Delta:
    joined = dict(one)
    for name, value in other.items():
        joined[name] = joined[name] + value if joined.get(name) else value
    return joined


@st.composite
def _interleaved(draw: st.DrawFn, answer: Answer, tidy: bool) -> list[dict[str, Any]]:
    """Fragments of calls, each call's in their order, and those of several calls in turns."""
    queues = [draw(_fragments(index, call, tidy)) for index, call in enumerate(answer.calls)]
    begun = 0
    fragments = []
    while waiting := [index for index, queue in enumerate(queues) if queue and (index <= begun or not tidy)]:
        index = draw(st.sampled_from(waiting))
        begun = max(begun, index + 1)
        fragments.append(queues[index].pop(0))
    return fragments


@st.composite
def _fragments(draw: st.DrawFn, index: int, call: Call, tidy: bool) -> list[dict[str, Any]]:
    """A call in fragments: a name in pieces before all arguments, or a whole one anywhere."""
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
