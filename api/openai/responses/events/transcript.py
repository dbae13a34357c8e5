"""Conversion of chat deltas to output items: it assigns deltas to items, and opens and closes the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.openai.responses.events.call_deltas import CallDelta, PendingCall, call_deltas
from api.openai.responses.events.output_items import (
    CallOutput,
    Event,
    Logprobs,
    MessageOutput,
    OutputItem,
    ReasoningOutput,
)
from api.openai.responses.response_fields import new_id
from api.openai.responses.tool_names import OfferedFunction


class Transcript:
    """The output of a response. Its events have no sequence numbers yet.

    Reasoning ends when text or a call begins; text ends when reasoning or a call begins. Calls stay open
    until the end, because the deltas of several calls may alternate.
    """

    def __init__(self, tools: Sequence[OfferedFunction] = ()) -> None:
        """``tools``: the functions that the model may call."""
        self._tools = {tool.model_name: tool for tool in tools}
        self.items: list[OutputItem] = []
        self._text_item: ReasoningOutput | MessageOutput | None = None
        self._calls: dict[int, CallOutput] = {}
        self._pending_calls: dict[int, PendingCall] = {}
        self._logprobs: list[Mapping[str, Any]] = []

    def add(self, delta: Mapping[str, Any], logprobs: Logprobs) -> list[Event]:
        """Add a delta with the log probabilities of its tokens."""
        reasoning = delta.get("reasoning") or delta.get("reasoning_content") or ""
        content = delta.get("content") or ""
        calls = call_deltas(delta.get("tool_calls") or ())
        events = self._add_reasoning(reasoning) if reasoning else []
        self._buffer_logprobs(logprobs, has_text=bool(content), has_other=bool(reasoning or calls))
        if content:
            events += self._add_text(content)
        for call in calls:
            events += self._add_call(call)
        return events

    def close(self, *, is_truncated: bool) -> list[Event]:
        """End all items. The last open item of a truncated response is incomplete."""
        events: list[Event] = []
        for position in sorted(self._pending_calls):
            if not self._pending_calls[position].is_empty:
                events += self._announce_call(position)
        if not is_truncated and not any(isinstance(item, MessageOutput | CallOutput) for item in self.items):
            # A complete response always has a message for the next turn to follow, even an empty one.
            events += self._close_text_item()
            self._text_item = MessageOutput(len(self.items))
            events += self._open(self._text_item)
        open_items = [item for item in self.items if item.status == "in_progress"]
        for item in open_items:
            self._attach_logprobs(item)
            events += item.close("incomplete" if is_truncated and item is open_items[-1] else "completed")
        return events

    def _buffer_logprobs(self, logprobs: Logprobs, *, has_text: bool, has_other: bool) -> None:
        """Keep the log probabilities of tokens that may belong to the next text.

        Tokens that produced no text yet may belong to it; tokens of reasoning and calls don't.
        """
        if has_other and not has_text:
            self._logprobs.clear()
        elif has_text or not isinstance(self._text_item, ReasoningOutput):
            self._logprobs.extend(logprobs)

    def _add_reasoning(self, text: str) -> list[Event]:
        events: list[Event] = []
        if not isinstance(self._text_item, ReasoningOutput):
            events += self._close_text_item()
            self._text_item = ReasoningOutput(len(self.items))
            events += self._open(self._text_item)
        return [*events, self._text_item.add(text)]

    def _add_text(self, text: str) -> list[Event]:
        events: list[Event] = []
        if not isinstance(self._text_item, MessageOutput):
            events += self._close_text_item()
            self._text_item = MessageOutput(len(self.items))
            events += self._open(self._text_item)
        event = self._text_item.add(text, self._logprobs)
        self._logprobs = []
        return [*events, event]

    def _add_call(self, delta: CallDelta) -> list[Event]:
        if call := self._calls.get(delta.position):
            return [call.add(delta.arguments)] if delta.arguments else []
        self._pending_calls.setdefault(delta.position, PendingCall()).add(delta)
        events: list[Event] = []
        # Announce calls in the order of their positions, whichever name is complete first.
        while (pending := self._pending_calls.get(len(self._calls))) and pending.has_complete_name:
            events += self._announce_call(len(self._calls))
        return events

    def _announce_call(self, position: int) -> list[Event]:
        pending = self._pending_calls.pop(position)
        events = self._close_text_item()
        call_id = pending.call_id or new_id("call")
        tool = self._tools.get(pending.name)
        name, namespace = (tool.function.name, tool.namespace) if tool is not None else (pending.name, None)
        call = CallOutput(len(self.items), call_id=call_id, name=name, namespace=namespace)
        self._calls[position] = call
        events += self._open(call)
        return [*events, call.add(pending.arguments)] if pending.arguments else events

    def _open(self, item: OutputItem) -> list[Event]:
        self.items.append(item)
        return item.open()

    def _close_text_item(self) -> list[Event]:
        item, self._text_item = self._text_item, None
        if item is None:
            return []
        self._attach_logprobs(item)
        return item.close("completed")

    def _attach_logprobs(self, item: OutputItem) -> None:
        if isinstance(item, MessageOutput):
            item.add_logprobs(self._logprobs)
            self._logprobs = []
