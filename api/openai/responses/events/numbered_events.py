"""A response as numbered events: an engine's chat chunks become the events and the response object."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from api.openai.errors.base import ApiError
from api.openai.responses.events.output_items import Event, Logprobs
from api.openai.responses.events.transcript import Transcript
from api.openai.responses.response_fields import effective_sampling, response_usage
from api.openai.responses.response_plan import ResponsePlan
from inference_worker.protocol import sse

State = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

_INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponseAssembly:
    """A response in progress. Call ``begin``, ``add_chunk`` for each chunk, then one of the three ends.

    Each call returns the resulting events, numbered from 0. After an end there are no more events.
    """

    def __init__(
        self,
        plan: ResponsePlan,
        *,
        response_id: str,
        created_at: int,
        model: str,
        sampling_defaults: Mapping[str, float] | None = None,
        service_tier: str = "default",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``sampling_defaults``: the model's own sampling parameters, by name.

        ``service_tier``: the tier that is used.
        """
        self._identity = {"id": response_id, "object": "response", "created_at": created_at, "model": model}
        self._plan = plan
        self._service_tier = service_tier
        self._sampling = effective_sampling(plan.chat_fields, sampling_defaults or {})
        self._clock = clock
        self._transcript = Transcript(plan.tools)
        self._next_number = 0
        self._finish_reason: str | None = None
        self._usage: dict[str, Any] | None = None
        self._final_fields: dict[str, Any] = {}
        self.state: State = "queued" if plan.is_background else "in_progress"

    @property
    def is_ended(self) -> bool:
        """True once the response is finished, failed or cancelled."""
        return self.state not in ("queued", "in_progress")

    def begin(self) -> list[Event]:
        """Start the response; one in the background is queued first."""
        events = [self._state_event("response.created")]
        if self._plan.is_background:
            events.append(self._state_event("response.queued"))
        self.state = "in_progress"
        return [*events, self._state_event("response.in_progress")]

    def add_chunk(self, chunk: Mapping[str, Any]) -> list[Event]:
        """Add a chat chunk, which may contain several deltas."""
        if self.is_ended:
            return []
        if usage := chunk.get("usage"):
            self._usage = response_usage(usage)
        events: list[Event] = []
        for choice in chunk.get("choices") or ():
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            events += self._transcript.add(choice.get("delta") or {}, self._logprobs(choice))
        return self._number(events)

    def finish(self) -> list[Event]:
        """End the response as completed, or as incomplete if the engine stopped early."""
        reason = _INCOMPLETE_REASONS.get(self._finish_reason or "")
        if reason is not None:
            return self._end("incomplete", "response.incomplete", incomplete_details={"reason": reason})
        return self._end("completed", "response.completed", completed_at=int(self._clock()))

    def fail(self, error: ApiError) -> list[Event]:
        """End the response as failed."""
        return self._end("failed", "response.failed", error=_error_details(error))

    def cancel(self) -> list[Event]:
        """End the response as cancelled. The API has no such event, so ``response.incomplete`` reports it."""
        return self._end("cancelled", "response.incomplete")

    def snapshot(self) -> dict[str, Any]:
        """Return the current response object."""
        return {
            **self._identity,
            "status": self.state,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            **self._plan.echo,
            "service_tier": self._service_tier,
            **self._sampling,
            "output": [item.item() for item in self._transcript.items],
            "usage": self._usage,
            **self._final_fields,
        }

    def failed_snapshot(self, error: ApiError) -> dict[str, Any]:
        """Return the response as failed although the engine finished, because the client got this error."""
        end = {"status": "failed", "completed_at": None, "incomplete_details": None}
        return {**self.snapshot(), **end, "error": _error_details(error)}

    def _logprobs(self, choice: Mapping[str, Any]) -> Logprobs:
        if not self._plan.has_logprobs:
            return ()
        return (choice.get("logprobs") or {}).get("content") or ()

    def _end(self, state: State, event_type: str, **final_fields: Any) -> list[Event]:
        if self.is_ended:
            return []
        events = self._number(self._transcript.close(is_truncated=state != "completed"))
        self.state, self._final_fields = state, final_fields
        return [*events, self._state_event(event_type)]

    def _state_event(self, event_type: str) -> Event:
        return self._number([{"type": event_type, "response": self.snapshot()}])[0]

    def _number(self, events: Iterable[Event]) -> list[Event]:
        numbered_events = []
        for event in events:
            numbered_events.append({"type": event["type"], "sequence_number": self._next_number, **event})
            self._next_number += 1
        return numbered_events


def encode_event(event: Mapping[str, Any]) -> bytes:
    """Return the server-sent event, which is named by its type."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    # An engine may split a surrogate pair between two deltas; half of one has no UTF-8 encoding.
    return sse.named_event(event["type"], text.encode(errors="replace"))


def _error_details(error: ApiError) -> dict[str, Any]:
    """Return the ``error`` of a failed response. Its codes are a closed list, smaller than the catalogue."""
    code = "invalid_prompt" if error.status in (400, 404, 413) else "server_error"
    return {"code": code, "message": error.message, "param": error.param, "type": error.own_type()}
