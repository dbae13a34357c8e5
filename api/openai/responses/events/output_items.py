"""Output items in progress: their content so far, and the events about them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from typing_extensions import override

from api.openai.responses.input_items import output_text
from api.openai.responses.response_fields import new_id

Status = Literal["in_progress", "completed", "incomplete"]
Event = dict[str, Any]
Logprobs = Sequence[Mapping[str, Any]]


class OutputItem(ABC):
    """An item of the output. Its events have no sequence numbers yet."""

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
        """Return the item in the API's form, with its content so far."""

    def open(self) -> list[Event]:
        """Return the events that announce the item. Call this before adding content."""
        return [{"type": "response.output_item.added", "output_index": self.index, "item": self.item()}]

    def close(self, status: Status) -> list[Event]:
        """End the item and return the events that report its end."""
        self.status = status
        return [{"type": "response.output_item.done", "output_index": self.index, "item": self.item()}]

    def location(self) -> dict[str, Any]:
        """Return the fields that locate the item's content in the output."""
        return {"item_id": self.id, "output_index": self.index}


class _PartItem(OutputItem):
    """An item with one part of text."""

    @abstractmethod
    def part(self) -> dict[str, Any]:
        """Return the part in the API's form, with its text so far."""

    def content(self) -> list[dict[str, Any]]:
        """Return the part in a list, which is empty until the part has text or has ended."""
        return [self.part()] if self.fragments or self.status != "in_progress" else []

    @override
    def location(self) -> dict[str, Any]:
        return {**super().location(), "content_index": 0}

    @override
    def open(self) -> list[Event]:
        part_event = {"type": "response.content_part.added", **self.location(), "part": self.part()}
        return [*super().open(), part_event]

    def _close_part(self, status: Status, text_event: Event) -> list[Event]:
        part_event = {"type": "response.content_part.done", **self.location(), "part": self.part()}
        return [{**text_event, **self.location()}, part_event, *super().close(status)]


class ReasoningOutput(_PartItem):
    """The model's reasoning."""

    def __init__(self, index: int) -> None:
        super().__init__(new_id("rs"), index)

    @override
    def part(self) -> dict[str, Any]:
        return {"type": "reasoning_text", "text": self.text}

    @override
    def item(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "reasoning",
            "status": self.status,
            "summary": [],
            "content": self.content(),
        }

    def add(self, text: str) -> Event:
        """Append text and return its event."""
        self.fragments.append(text)
        return {"type": "response.reasoning_text.delta", **self.location(), "delta": text}

    @override
    def close(self, status: Status) -> list[Event]:
        return self._close_part(status, {"type": "response.reasoning_text.done", "text": self.text})


class MessageOutput(_PartItem):
    """A message of the model."""

    def __init__(self, index: int) -> None:
        super().__init__(new_id("msg"), index)
        self.logprobs: list[dict[str, Any]] = []

    @override
    def part(self) -> dict[str, Any]:
        return output_text(self.text, self.logprobs)

    @override
    def item(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "status": self.status,
            "role": "assistant",
            "content": self.content(),
        }

    def add(self, text: str, logprobs: Logprobs) -> Event:
        """Append text with the log probabilities of its tokens, and return its event."""
        self.fragments.append(text)
        self.add_logprobs(logprobs)
        event_logprobs = [_item_logprob(entry) for entry in logprobs]
        return {
            "type": "response.output_text.delta",
            **self.location(),
            "delta": text,
            "logprobs": event_logprobs,
        }

    def add_logprobs(self, logprobs: Logprobs) -> None:
        """Append the log probabilities of tokens that produced no text."""
        self.logprobs.extend(_item_logprob(entry) for entry in logprobs)

    @override
    def close(self, status: Status) -> list[Event]:
        text_event = {"type": "response.output_text.done", "text": self.text, "logprobs": [*self.logprobs]}
        return self._close_part(status, text_event)


class CallOutput(OutputItem):
    """A function call of the model."""

    def __init__(self, index: int, *, call_id: str, name: str, namespace: str | None = None) -> None:
        super().__init__(new_id("fc"), index)
        self.namespace = namespace
        self.call_id = call_id
        self.name = name

    @override
    def item(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function_call",
            "status": self.status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": self.text,
            **({"namespace": self.namespace} if self.namespace else {}),
        }

    def add(self, arguments: str) -> Event:
        """Append to the arguments and return the event."""
        self.fragments.append(arguments)
        return {"type": "response.function_call_arguments.delta", **self.location(), "delta": arguments}

    @override
    def close(self, status: Status) -> list[Event]:
        done_event = {
            "type": "response.function_call_arguments.done",
            **self.location(),
            "name": self.name,
            "arguments": self.text,
        }
        return [done_event, *super().close(status)]


def _item_logprob(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an engine's entry in the form of a response, where ``bytes`` is required."""
    return {
        **_token(entry),
        "top_logprobs": [_token(alternative) for alternative in entry.get("top_logprobs") or ()],
    }


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    token_bytes = entry.get("bytes")
    if token_bytes is None:
        token_bytes = entry["token"].encode("utf-8", "replace")
    return {"token": entry["token"], "bytes": list(token_bytes), "logprob": entry["logprob"]}
