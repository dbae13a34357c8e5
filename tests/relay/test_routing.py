"""The choice of a worker while one of them is suspected to hang, on a clock that the tests set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inference_worker.client.interface import Call
from inference_worker.client.relay_stream import RelayStream
from inference_worker.client.routing import AVOIDED_S, FORGOTTEN_S, SILENCE_S, Router
from inference_worker.protocol.messages import Operation
from tests.heartbeats import ready_heartbeat

CALL = Call("req_0", "c", Operation.COMPLETIONS, "m", True, b"{}", 60, 10)
HUNG, OTHER = (
    ready_heartbeat("m", worker_id=name, channel=f"{name}.boot1", running=load)
    for name, load in (("hung", 0), ("other", 50))
)


class Calls:
    """A router with calls on two workers, the idle one of which stops answering."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.router = Router(lambda: self.now)
        self.workers = [HUNG, OTHER]
        self.count = 0

    def start(self, workers: list[str] | None = None) -> RelayStream:
        self.count += 1
        call = replace(CALL, request_id=f"req_{self.count}")
        candidates = [worker for worker in self.workers if workers is None or worker.worker_id in workers]
        worker = self.router.best_worker(candidates, call, (), ())
        assert worker is not None
        stream = RelayStream(call, 1, worker, send_cancel=lambda *_: None, on_close=self.router.record_end)
        stream.last_event_at = self.now
        self.router.record_start(stream)
        return stream

    def give_up(self, stream: RelayStream, silence_s: float = SILENCE_S) -> None:
        self.now += silence_s
        stream.close()

    def suspect(self) -> None:
        """Let the idle worker be silent for as long as it takes."""
        self.give_up(self.start(["hung"]))

    def names(self, count: int) -> list[str]:
        return [self.start().worker_id for _ in range(count)]


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.mark.case("serving.34")
def test_a_silent_worker_gets_no_calls_and_then_a_single_probe(calls: Calls) -> None:
    calls.suspect()
    calls.now += AVOIDED_S - 1
    assert calls.names(3) == ["other"] * 3
    calls.now += 1
    assert calls.names(4) == ["hung", "other", "other", "other"]
    calls.now += 10 * AVOIDED_S
    assert calls.names(2) == ["other"] * 2, "the probe is still running"


def test_all_calls_return_once_the_worker_sends_output(calls: Calls) -> None:
    calls.suspect()
    calls.now += AVOIDED_S
    assert calls.names(2) == ["hung", "other"]
    assert calls.router.has_suspects
    calls.router.record_output("hung")
    assert not calls.router.has_suspects
    # Each has a call of 10 tokens, and the worker that was silent has fewer requests of other gateways.
    assert calls.names(2) == ["hung", "other"]


def test_a_probe_that_is_given_up_begins_the_time_again(calls: Calls) -> None:
    calls.suspect()
    calls.now += AVOIDED_S
    calls.give_up(calls.start())
    assert calls.names(1) == ["other"]
    calls.now += AVOIDED_S - 1
    assert calls.names(1) == ["other"]
    calls.now += 1
    assert calls.names(2) == ["hung", "other"]


def test_a_probe_whose_client_leaves_early_is_replaced_by_the_next_call(calls: Calls) -> None:
    calls.suspect()
    calls.now += AVOIDED_S
    calls.give_up(calls.start(), silence_s=1)
    assert calls.names(2) == ["hung", "other"]


def test_the_end_of_another_call_does_not_end_the_probe(calls: Calls) -> None:
    earlier_call = calls.start(["hung"])
    calls.suspect()
    calls.now += AVOIDED_S
    probe = calls.start()
    earlier_call.last_event_at = calls.now
    earlier_call.close()
    assert (probe.worker_id, calls.names(1)) == ("hung", ["other"])


def test_a_suspect_serves_calls_that_no_other_worker_can_serve(calls: Calls) -> None:
    calls.suspect()
    assert [calls.start(["hung"]).worker_id for _ in range(2)] == ["hung"] * 2


def test_a_restarted_worker_is_no_suspect(calls: Calls) -> None:
    calls.suspect()
    calls.workers = [ready_heartbeat("m", worker_id="hung", channel="hung.boot2"), OTHER]
    assert calls.names(1) == ["hung"]


def test_suspects_that_no_longer_exist_are_forgotten(calls: Calls) -> None:
    calls.suspect()
    calls.now += AVOIDED_S + FORGOTTEN_S
    calls.give_up(calls.start(["other"]))
    calls.router.record_output("other")
    assert not calls.router.has_suspects
