"""Chat deltas to output items: which one a delta belongs to, and where items begin and end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.openai.responses.calls import CallDelta, PendingCall, call_deltas
from api.openai.responses.output import (
    CallOutput,
    Event,
    Logprobs,
    MessageOutput,
    OutputItem,
    ReasoningOutput,
)
from api.openai.responses.response_fields import new_id


class Transcript:
    """The output of a response. Returned events have no numbers yet.

    Reasoning ends when text or a call begins, text when reasoning or a call begins. Calls stay open to the
    end, as deltas of several may come in turns.
    """

    def __init__(self) -> None:
        self.items: list[OutputItem] = []
        self._text: ReasoningOutput | MessageOutput | None = None
        self._calls: dict[int, CallOutput] = {}
        self._pending: dict[int, PendingCall] = {}
        self._logprobs: list[Mapping[str, Any]] = []

    def add(self, delta: Mapping[str, Any], logprobs: Logprobs) -> list[Event]:
        """Take in one delta with the log probabilities of its tokens."""
        reasoning = delta.get("reasoning") or delta.get("reasoning_content") or ""
        content = delta.get("content") or ""
        calls = call_deltas(delta.get("tool_calls") or ())
        events = self._reasoned(reasoning) if reasoning else []
        self._keep(logprobs, said=bool(content), other=bool(reasoning or calls))
        if content:
            events += self._said(content)
        for call in calls:
            events += self._called(call)
        return events

    def close(self, *, cut: bool) -> list[Event]:
        """End all items; if the answer was cut, the last one is incomplete."""
        events: list[Event] = []
        for position in sorted(self._pending):
            if not self._pending[position].is_empty:
                events += self._announced(position)
        if not cut and not any(isinstance(item, MessageOutput | CallOutput) for item in self.items):
            # The next turn follows an answer, even if that was empty.
            events += self._ended_text()
            self._text = MessageOutput(len(self.items))
            events += self._opened(self._text)
        still_open = [item for item in self.items if item.status == "in_progress"]
        for item in still_open:
            self._settle(item)
            events += item.closing("incomplete" if cut and item is still_open[-1] else "completed")
        return events

    def _keep(self, logprobs: Logprobs, *, said: bool, other: bool) -> None:
        """Tokens that gave nothing yet may belong to the next text; those of reasoning and calls don't."""
        if other and not said:
            self._logprobs.clear()
        elif said or not isinstance(self._text, ReasoningOutput):
            self._logprobs.extend(logprobs)

    def _reasoned(self, text: str) -> list[Event]:
        events: list[Event] = []
        if not isinstance(self._text, ReasoningOutput):
            events += self._ended_text()
            self._text = ReasoningOutput(len(self.items))
            events += self._opened(self._text)
        return [*events, self._text.add(text)]

    def _said(self, text: str) -> list[Event]:
        events: list[Event] = []
        if not isinstance(self._text, MessageOutput):
            events += self._ended_text()
            self._text = MessageOutput(len(self.items))
            events += self._opened(self._text)
        event = self._text.add(text, self._logprobs)
        self._logprobs = []
        return [*events, event]

    def _called(self, delta: CallDelta) -> list[Event]:
        if call := self._calls.get(delta.position):
            return [call.add(delta.arguments)] if delta.arguments else []
        self._pending.setdefault(delta.position, PendingCall()).add(delta)
        events: list[Event] = []
        # In the order of their positions, whichever is known first.
        while (following := self._pending.get(len(self._calls))) and following.is_known:
            events += self._announced(len(self._calls))
        return events

    def _announced(self, position: int) -> list[Event]:
        pending = self._pending.pop(position)
        events = self._ended_text()
        call_id = pending.call_id or new_id("call")
        call = CallOutput(len(self.items), call_id=call_id, name=pending.name)
        self._calls[position] = call
        events += self._opened(call)
        return [*events, call.add(pending.arguments)] if pending.arguments else events

    def _opened(self, item: OutputItem) -> list[Event]:
        self.items.append(item)
        return item.opening()

    def _ended_text(self) -> list[Event]:
        ended, self._text = self._text, None
        if ended is None:
            return []
        self._settle(ended)
        return ended.closing("completed")

    def _settle(self, item: OutputItem) -> None:
        if isinstance(item, MessageOutput):
            item.add_logprobs(self._logprobs)
            self._logprobs = []
