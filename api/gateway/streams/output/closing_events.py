"""The last events of a stream that ends with an error, in the format of its API."""

from __future__ import annotations

import enum
import json

from api.openai.errors.base import ApiError
from inference_worker.protocol import sse


class LogKind(enum.StrEnum):
    """The API whose events a log contains. It determines the format of error events."""

    CHAT = "chat"
    COMPLETION = "completion"
    RESPONSE = "response"

    @property
    def id_prefix(self) -> str:
        """The prefix of the ids in the events."""
        return {"chat": "chatcmpl", "completion": "cmpl", "response": "resp"}[self.value]


def closing_events(kind: LogKind, error: ApiError, number: int) -> list[bytes]:
    """Return the last events of a log that ends with an error; ``number`` is that of the first."""
    if kind is not LogKind.RESPONSE:
        return [sse.data_event(error.body()), sse.DONE]
    event = {
        "type": "error",
        "code": error.code,
        "message": error.message,
        "param": error.param,
        "sequence_number": number,
    }
    return [sse.named_event("error", json.dumps(event).encode())]
