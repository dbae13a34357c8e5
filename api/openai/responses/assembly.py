"""Chat chunks of an engine to the numbered events and the object of a response."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from api.openai.errors.base import ApiError
from api.openai.responses.output import Event, Logprobs
from api.openai.responses.response_fields import usage_of
from api.openai.responses.response_request import CheckedResponse
from api.openai.responses.transcript import Transcript

State = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseAssembly:
    """One response while it is made: ``begin``, ``chunk`` for each chunk, then one of the three ends.

    Each returns the events that come of it, numbered from 0 on; after an end there are none.
    """

    def __init__(
        self,
        checked: CheckedResponse,
        *,
        response_id: str,
        created_at: int,
        model: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fixed = {"id": response_id, "object": "response", "created_at": created_at, "model": model}
        self._checked = checked
        self._clock = clock
        self._transcript = Transcript()
        self._number = 0
        self._finish_reason: str | None = None
        self._usage: dict[str, Any] | None = None
        self._ended: dict[str, Any] = {}
        self.state: State = "queued" if checked.background else "in_progress"

    @property
    def is_ended(self) -> bool:
        """Whether it was finished, failed or cancelled."""
        return self.state not in ("queued", "in_progress")

    def begin(self) -> list[Event]:
        """It exists, was queued if it runs in the background, and is in progress."""
        events = [self._told("response.created")]
        if self._checked.background:
            events.append(self._told("response.queued"))
        self.state = "in_progress"
        return [*events, self._told("response.in_progress")]

    def chunk(self, chunk: Mapping[str, Any]) -> list[Event]:
        """Take in a chat chunk, which may hold several deltas at once."""
        if self.is_ended:
            return []
        if usage := chunk.get("usage"):
            self._usage = usage_of(usage)
        events: list[Event] = []
        for choice in chunk.get("choices") or ():
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            events += self._transcript.add(choice.get("delta") or {}, self._logprobs(choice))
        return self._numbered(events)

    def finish(self) -> list[Event]:
        """The engine has ended: completed, or incomplete if it was stopped short."""
        reason = _INCOMPLETE.get(self._finish_reason or "")
        if reason is not None:
            return self._end("incomplete", "response.incomplete", incomplete_details={"reason": reason})
        return self._end("completed", "response.completed", completed_at=int(self._clock()))

    def fail(self, error: ApiError) -> list[Event]:
        """An error of the catalogue ended it."""
        return self._end("failed", "response.failed", error=_error_of(error))

    def cancel(self) -> list[Event]:
        """The client ended it. The API has no event for that: ``response.incomplete`` has the status."""
        return self._end("cancelled", "response.incomplete")

    def snapshot(self) -> dict[str, Any]:
        """The response object as it is now."""
        return {
            **self._fixed,
            "status": self.state,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            **self._checked.echo,
            "output": [item.item() for item in self._transcript.items],
            "usage": self._usage,
            **self._ended,
        }

    def failed_instead(self, error: ApiError) -> dict[str, Any]:
        """The response as failed, though the engine had ended: its client was told this error."""
        end = {"status": "failed", "completed_at": None, "incomplete_details": None}
        return {**self.snapshot(), **end, "error": _error_of(error)}

    def _logprobs(self, choice: Mapping[str, Any]) -> Logprobs:
        if not self._checked.with_logprobs:
            return ()
        return (choice.get("logprobs") or {}).get("content") or ()

    def _end(self, state: State, kind: str, **details: Any) -> list[Event]:
        if self.is_ended:
            return []
        events = self._numbered(self._transcript.close(cut=state != "completed"))
        self.state, self._ended = state, details
        return [*events, self._told(kind)]

    def _told(self, kind: str) -> Event:
        return self._numbered([{"type": kind, "response": self.snapshot()}])[0]

    def _numbered(self, events: Iterable[Event]) -> list[Event]:
        numbered = []
        for event in events:
            numbered.append({"type": event["type"], "sequence_number": self._number, **event})
            self._number += 1
        return numbered


def event_bytes(event: Mapping[str, Any]) -> bytes:
    """An event as it is sent: server-sent, named by its type."""
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    # An engine may split a pair of surrogates, half of which is no UTF-8.
    return f"event: {event['type']}\ndata: {data}\n\n".encode(errors="replace")


def _error_of(error: ApiError) -> dict[str, Any]:
    """The ``error`` of a failed response. Its codes are a closed list that knows few of the catalogue."""
    code = "invalid_prompt" if error.status in (400, 404, 413) else "server_error"
    return {"code": code, "message": error.message, "param": error.param, "type": error.error_type()}
