"""The choice of a worker for a call: the least loaded of those that can serve it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from inference_worker.client.interface import Call
from inference_worker.client.worker_directory import is_responsive
from inference_worker.protocol.messages import DEFAULT_OPERATIONS, Heartbeat, Operation, WorkerState


def is_usable(worker: Heartbeat) -> bool:
    """Return whether a worker takes requests: it is ready and its event loop is running."""
    return worker.state is WorkerState.READY and is_responsive(worker)


def offers(worker: Heartbeat, operation: Operation) -> bool:
    """Return whether a worker's engine has this operation."""
    return operation in (worker.operations or DEFAULT_OPERATIONS)


class Router:
    """Routes by the outstanding tokens of this gateway's calls, then by the number of all requests."""

    def __init__(self) -> None:
        self._outstanding_tokens: dict[str, int] = {}

    def best_worker(
        self,
        workers: Iterable[Heartbeat],
        call: Call,
        excluded_workers: Collection[str],
        dead_channels: Collection[str],
    ) -> Heartbeat | None:
        """Return the least loaded worker that can serve the call, or None.

        ``excluded_workers`` are worker ids. ``dead_channels`` are worker channels without a receiver.
        """
        candidates = [
            worker
            for worker in workers
            if is_usable(worker)
            and call.model in worker.models
            and offers(worker, call.operation)
            and worker.worker_id not in excluded_workers
            and worker.channel not in dead_channels
        ]
        return min(candidates, key=self._load, default=None)

    def add_tokens(self, worker_id: str, tokens: int) -> None:
        """Add to a worker's outstanding tokens; a negative number when an attempt is over."""
        total = self._outstanding_tokens.get(worker_id, 0) + tokens
        if total > 0:
            self._outstanding_tokens[worker_id] = total
        else:
            self._outstanding_tokens.pop(worker_id, None)

    def _load(self, worker: Heartbeat) -> tuple[int, int]:
        return (self._outstanding_tokens.get(worker.worker_id, 0), worker.running + worker.waiting)
