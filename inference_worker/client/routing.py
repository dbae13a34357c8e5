"""The choice of a worker for a call: the least loaded of those that can serve it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from inference_worker.client.interface import Call
from inference_worker.client.relay_stream import RelayStream
from inference_worker.client.worker_directory import is_responsive
from inference_worker.protocol.messages import (
    DEFAULT_OPERATIONS,
    AdapterRef,
    Heartbeat,
    Operation,
    WorkerState,
)

AFFINITY_TOKENS = 4096  # about what a worker could generate while it loads an adapter
# An attempt that is given up after this time without an event suggests that the engine hangs.
SILENCE_S = 10.0
AVOIDED_S = 30.0  # then a single call probes the worker
FORGOTTEN_S = 3600.0  # a suspect that has not been probed for so long no longer exists


def is_usable(worker: Heartbeat) -> bool:
    """Return whether a worker takes requests: it is ready and its event loop is running."""
    return worker.state is WorkerState.READY and is_responsive(worker)


def supports(worker: Heartbeat, operation: Operation) -> bool:
    """Return whether a worker's engine has this operation."""
    return operation in (worker.operations or DEFAULT_OPERATIONS)


def serves(worker: Heartbeat, model: str, adapter: AdapterRef | None) -> bool:
    """Return whether a worker serves a model, or can load the adapter that the model is."""
    if adapter is None:
        return model in worker.models
    return adapter.base_model in worker.models and adapter.rank <= worker.max_lora_rank


@dataclass(slots=True)
class _Suspect:
    """A silent worker, by its channel: that of a restarted worker is new.

    ``probe_at``: the time from which a call may probe it. ``probe_id``: the request that does, else empty.
    """

    channel: str
    probe_at: float
    probe_id: str = ""


class Router:
    """Routes by the outstanding tokens of this gateway's calls, then by the number of all requests.

    An adapter stays with workers that have loaded it, unless they have ``AFFINITY_TOKENS`` more to do.

    A worker that has been silent is a suspect: it gets no calls if another can serve them. After
    ``AVOIDED_S``, one call probes it, and further calls stay away until it sends output. If the probe meets
    silence as well, the time begins again; if it ends early, the next call replaces it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._outstanding_tokens: dict[str, int] = {}
        self._suspects: dict[str, _Suspect] = {}

    @property
    def has_suspects(self) -> bool:
        """True if the output of a worker matters to ``record_output``."""
        return bool(self._suspects)

    def record_start(self, stream: RelayStream) -> None:
        """Note that an attempt begins. It may be the probe of a suspect."""
        self.add_tokens(stream.worker_id, stream.cost_tokens)
        if (suspect := self._suspect_to_probe(stream.worker_id, stream.worker_channel)) is not None:
            suspect.probe_id = stream.request_id

    def record_end(self, stream: RelayStream) -> None:
        """Note the end of an attempt. A worker that was silent for too long before it becomes a suspect."""
        self.add_tokens(stream.worker_id, -stream.cost_tokens)
        suspect, now = self._suspects.get(stream.worker_id), self._clock()
        if suspect is not None and suspect.probe_id == stream.request_id:
            suspect.probe_id = ""
        if stream.is_given_up and now - stream.last_event_at >= SILENCE_S:
            oldest = now - FORGOTTEN_S
            self._suspects = {id_: item for id_, item in self._suspects.items() if item.probe_at > oldest}
            self._suspects[stream.worker_id] = _Suspect(stream.worker_channel, now + AVOIDED_S)

    def record_output(self, worker_id: str) -> None:
        """Note that a worker's engine has generated something. The end of a cancelled call shows nothing."""
        self._suspects.pop(worker_id, None)

    def best_worker(
        self,
        workers: Iterable[Heartbeat],
        call: Call,
        excluded_workers: Collection[str],
        dead_channels: Collection[str],
    ) -> Heartbeat | None:
        """Return the best worker for the call: a suspect that is due for its probe, else the least loaded.

        None if no worker can serve it. ``excluded_workers`` are worker ids. ``dead_channels`` are worker
        channels without a receiver.
        """
        candidates = [
            worker
            for worker in workers
            if is_usable(worker)
            and serves(worker, call.model, call.adapter)
            and supports(worker, call.operation)
            and call.worker_id in ("", worker.worker_id)
            and worker.worker_id not in excluded_workers
            and worker.channel not in dead_channels
        ]
        return min(candidates, key=lambda worker: self._load(worker, call.adapter), default=None)

    def add_tokens(self, worker_id: str, tokens: int) -> None:
        """Add to a worker's outstanding tokens; a negative number when an attempt is over."""
        total = self._outstanding_tokens.get(worker_id, 0) + tokens
        if total > 0:
            self._outstanding_tokens[worker_id] = total
        else:
            self._outstanding_tokens.pop(worker_id, None)

    def _load(self, worker: Heartbeat, adapter: AdapterRef | None) -> tuple[bool, bool, int, int]:
        tokens = self._outstanding_tokens.get(worker.worker_id, 0)
        if adapter is not None and adapter.sha256 not in worker.adapters:
            tokens += AFFINITY_TOKENS
        is_due = self._suspect_to_probe(worker.worker_id, worker.channel) is not None
        is_avoided = self._suspect(worker.worker_id, worker.channel) is not None
        return (not is_due, is_avoided, tokens, worker.running + worker.waiting)

    def _suspect(self, worker_id: str, channel: str) -> _Suspect | None:
        suspect = self._suspects.get(worker_id)
        return suspect if suspect is not None and suspect.channel == channel else None

    def _suspect_to_probe(self, worker_id: str, channel: str) -> _Suspect | None:
        """Return the suspect if the next call should probe it."""
        suspect = self._suspect(worker_id, channel)
        is_due = suspect is not None and not suspect.probe_id and self._clock() >= suspect.probe_at
        return suspect if is_due else None
