"""Output items while they are made: what they hold so far, and the events that tell of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from api.openai.responses.input_items import output_text
from api.openai.responses.response_fields import new_id

Status = Literal["in_progress", "completed", "incomplete"]
Event = dict[str, Any]
Logprobs = Sequence[Mapping[str, Any]]


class OutputItem(ABC):
    """An item at its place in the output. Events are without their numbers."""

    def __init__(self, item_id: str, index: int) -> None:
        self.id = item_id
        self.index = index
        self.status: Status = "in_progress"
        self.fragments: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.fragments)

    @abstractmethod
    def item(self) -> dict[str, Any]:
        """The item as the API shows it, as far as it is made."""

    def opening(self) -> list[Event]:
        """The events that begin it. Nothing may have been added to it."""
        return [{"type": "response.output_item.added", "output_index": self.index, "item": self.item()}]

    def closing(self, status: Status) -> list[Event]:
        """End it; the events that say so."""
        self.status = status
        return [{"type": "response.output_item.done", "output_index": self.index, "item": self.item()}]

    def place(self) -> dict[str, Any]:
        """Where a delta belongs."""
        return {"item_id": self.id, "output_index": self.index}


class _PartItem(OutputItem):
    """An item with one part of text."""

    @abstractmethod
    def part(self) -> dict[str, Any]:
        """The part as the API shows it, as far as it is made."""

    def content(self) -> list[dict[str, Any]]:
        """The part in a list; an empty one while nothing of it is there."""
        return [self.part()] if self.fragments or self.status != "in_progress" else []

    def place(self) -> dict[str, Any]:
        return {**super().place(), "content_index": 0}

    def opening(self) -> list[Event]:
        added = {"type": "response.content_part.added", **self.place(), "part": self.part()}
        return [*super().opening(), added]

    def _closing_part(self, status: Status, ended: Event) -> list[Event]:
        done = {"type": "response.content_part.done", **self.place(), "part": self.part()}
        return [{**ended, **self.place()}, done, *super().closing(status)]


class ReasoningOutput(_PartItem):
    """What the model thought before it answered."""

    def __init__(self, index: int) -> None:
        super().__init__(new_id("rs"), index)

    def part(self) -> dict[str, Any]:
        return {"type": "reasoning_text", "text": self.text}

    def item(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "reasoning",
            "status": self.status,
            "summary": [],
            "content": self.content(),
        }

    def add(self, text: str) -> Event:
        """Append text; the event that tells it."""
        self.fragments.append(text)
        return {"type": "response.reasoning_text.delta", **self.place(), "delta": text}

    def closing(self, status: Status) -> list[Event]:
        return self._closing_part(status, {"type": "response.reasoning_text.done", "text": self.text})


class MessageOutput(_PartItem):
    """What the model says."""

    def __init__(self, index: int) -> None:
        super().__init__(new_id("msg"), index)
        self.logprobs: list[dict[str, Any]] = []

    def part(self) -> dict[str, Any]:
        return output_text(self.text, self.logprobs)

    def item(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "status": self.status,
            "role": "assistant",
            "content": self.content(),
        }

    def add(self, text: str, logprobs: Logprobs) -> Event:
        """Append text with the log probabilities of its tokens; the event that tells it."""
        self.fragments.append(text)
        self.add_logprobs(logprobs)
        shown = [_short(entry) for entry in logprobs]
        return {"type": "response.output_text.delta", **self.place(), "delta": text, "logprobs": shown}

    def add_logprobs(self, logprobs: Logprobs) -> None:
        """Append log probabilities alone: of tokens that gave no text."""
        self.logprobs.extend(_full(entry) for entry in logprobs)

    def closing(self, status: Status) -> list[Event]:
        shown = [_short(entry) for entry in self.logprobs]
        ended = {"type": "response.output_text.done", "text": self.text, "logprobs": shown}
        return self._closing_part(status, ended)


class CallOutput(OutputItem):
    """A function that the model calls."""

    def __init__(self, index: int, *, call_id: str, name: str) -> None:
        super().__init__(new_id("fc"), index)
        self.call_id = call_id
        self.name = name

    def item(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function_call",
            "status": self.status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": self.text,
        }

    def add(self, arguments: str) -> Event:
        """Append to the arguments; the event that tells it."""
        self.fragments.append(arguments)
        return {"type": "response.function_call_arguments.delta", **self.place(), "delta": arguments}

    def closing(self, status: Status) -> list[Event]:
        kind = "response.function_call_arguments.done"
        return [{"type": kind, **self.place(), "arguments": self.text}, *super().closing(status)]


def _full(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An engine's entry as items have it: ``bytes`` is not optional there."""
    return {
        **_token(entry),
        "top_logprobs": [_token(other) for other in entry.get("top_logprobs") or ()],
    }


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    given = entry.get("bytes")
    code = list(entry["token"].encode("utf-8", "replace")) if given is None else list(given)
    return {"token": entry["token"], "bytes": code, "logprob": entry["logprob"]}


def _short(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as events have it: without bytes."""
    others = entry.get("top_logprobs") or ()
    return {
        "token": entry["token"],
        "logprob": entry["logprob"],
        "top_logprobs": [{"token": other["token"], "logprob": other["logprob"]} for other in others],
    }
