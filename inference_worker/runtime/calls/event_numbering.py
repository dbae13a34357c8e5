"""The events of one attempt: numbered from 0, so that the gateway notices a lost one."""

from __future__ import annotations

from collections.abc import Callable

from inference_worker.protocol.faults import RequestFault
from inference_worker.protocol.messages import (
    Accepted,
    Delta,
    Event,
    Failed,
    FailureKind,
    Finished,
    Meter,
    Submit,
)

MAX_DETAIL_LENGTH = 16_384


class NumberedEvents:
    """Emits the events of an attempt in their order."""

    def __init__(self, submit: Submit, emit: Callable[[Event], None]) -> None:
        self._request_id, self._attempt, self._emit = submit.request_id, submit.attempt, emit
        self._index = 0

    def emit_accepted(self) -> None:
        """Report that the engine has accepted the request."""
        self._emit(Accepted(request_id=self._request_id, attempt=self._attempt, index=self._next_index()))

    def emit_delta(self, data: bytes) -> None:
        """Send a part of a stream."""
        index = self._next_index()
        self._emit(Delta(request_id=self._request_id, attempt=self._attempt, index=index, data=data))

    def emit_finished(self, data: bytes, meter: Meter) -> None:
        """Report the complete response. ``data``: its JSON body, empty if it was streamed."""
        self._emit(
            Finished(
                request_id=self._request_id,
                attempt=self._attempt,
                index=self._next_index(),
                data=data,
                meter=meter,
            )
        )

    def emit_failed(
        self,
        kind: FailureKind,
        status: int,
        detail: str,
        meter: Meter | None = None,
        fault: RequestFault | None = None,
    ) -> None:
        """Report that the attempt ended without a complete response; without a meter, nothing was used."""
        self._emit(
            Failed(
                request_id=self._request_id,
                attempt=self._attempt,
                index=self._next_index(),
                kind=kind,
                status=status,
                detail=detail[:MAX_DETAIL_LENGTH],
                meter=meter or Meter(),
                fault=fault,
            )
        )

    def _next_index(self) -> int:
        index = self._index
        self._index += 1
        return index
