"""Processes that die in the middle of the work: workers, engines, gateways."""

from __future__ import annotations

import os
import signal
import threading
import time

import httpx
import psutil
import pytest

from inference_worker.protocol.messages import WorkerState
from tests.stack.conftest import OwnedStack, StartWorker
from tests.stack.records import audit_row, heartbeat, running, settled_usage, usage_rows
from tests.stack.sse import Heard, chat, listen
from tests.stacks import wait_until


class Listener(threading.Thread):
    """A client in a thread of its own."""

    def __init__(self, stack: OwnedStack, body: dict[str, object]) -> None:
        super().__init__(daemon=True)
        self.heard = Heard()
        self.broke: Exception | None = None
        self._stack, self._body = stack, body
        self.start()

    def run(self) -> None:
        try:
            with self._stack.client() as client:
                listen(client, self._body, self.heard)
        except httpx.HTTPError as error:
            self.broke = error
            self.heard.ended_at = time.monotonic()

    def ended(self, timeout_s: float) -> Heard:
        self.join(timeout_s)
        assert not self.is_alive(), f"no end within {timeout_s} s: {self.heard}"
        return self.heard


@pytest.mark.case("serving.24")
def test_a_worker_killed_in_mid_stream_ends_the_stream_with_an_error_event_within_three_seconds(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str
) -> None:
    worker = start_worker("mid-1")
    listener = Listener(ready_stack, chat(faulty_model, "pieces=1000 gap=0.02"))
    wait_until(lambda: len(listener.heard.events) > 10, 10, "the stream runs")
    killed = time.monotonic()
    worker.process.kill()
    heard = listener.ended(5)
    assert heard.ended_at - killed < 3
    assert listener.broke is None, "the HTTP answer itself must end properly"
    assert heard.error is not None
    assert heard.error["code"] == "worker_lost"
    assert heard.error["type"] == "server_error"
    assert heard.done
    usage = settled_usage(ready_stack, heard.request_id)
    assert (usage["outcome"], usage["error_code"]) == ("lost", "worker_lost")
    assert usage["meter_source"] == "gateway", "the worker was killed before it could count"
    assert usage["completion_tokens"] > 0, "text that the client has is never free"
    time.sleep(1)
    assert len(usage_rows(ready_stack, heard.request_id)) == 1


@pytest.mark.parametrize("streamed", [True, False])
def test_a_request_that_had_sent_nothing_is_answered_by_the_second_worker(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str, streamed: bool
) -> None:
    first = start_worker("first", "hang_first")
    listener = Listener(ready_stack, chat(faulty_model, "pieces=6", stream=streamed))
    wait_until(lambda: running(ready_stack, first.worker_id) == 1, 10, "the first worker has it")
    second = start_worker("second")
    killed = time.monotonic()
    first.process.kill()
    heard = listener.ended(10)
    assert heard.ended_at - killed < 3
    assert (heard.status, heard.error) == (200, None)
    assert heard.text == "w0 w1 w2 w3 w4 w5 "
    usage = settled_usage(ready_stack, heard.request_id)
    assert (usage["outcome"], usage["attempt"], usage["worker_id"]) == ("completed", 2, second.worker_id)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 6)
    assert audit_row(ready_stack, heard.request_id)["outcome"] == "completed"


@pytest.mark.parametrize("streamed", [True, False])
def test_a_worker_that_hangs_with_its_connection_open_is_left_for_the_second_one(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str, streamed: bool
) -> None:
    first = start_worker("frozen", "hang_first")
    listener = Listener(ready_stack, chat(faulty_model, "pieces=3", stream=streamed))
    wait_until(lambda: running(ready_stack, first.worker_id) == 1, 10, "the first worker has it")
    start_worker("second")
    first.process.send_signal(signal.SIGSTOP)
    heard = listener.ended(15)
    assert (heard.status, heard.error, heard.text) == (200, None, "w0 w1 w2 ")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_worker_out_of_drain_time_hands_what_has_sent_nothing_to_the_second_one(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str, streamed: bool
) -> None:
    first = start_worker("leaves", "hang_first", CYLLM_WORKER_DRAIN_TIMEOUT_S="0.5")
    listener = Listener(ready_stack, chat(faulty_model, "pieces=3", stream=streamed))
    wait_until(lambda: running(ready_stack, first.worker_id) == 1, 10, "the first worker has it")
    start_worker("second")
    first.process.terminate()
    heard = listener.ended(10)
    assert (heard.status, heard.error, heard.text) == (200, None, "w0 w1 w2 ")
    usage = settled_usage(ready_stack, heard.request_id)
    assert (usage["outcome"], usage["attempt"], usage["completion_tokens"]) == ("completed", 2, 3)


def test_a_request_with_no_second_worker_is_answered_with_503(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str
) -> None:
    worker = start_worker("only", "hang_first")
    listener = Listener(ready_stack, chat(faulty_model, "x"))
    wait_until(lambda: running(ready_stack, worker.worker_id) == 1, 10, "the worker has it")
    worker.process.kill()
    heard = listener.ended(5)
    assert heard.status == 503
    assert heard.error is not None
    assert heard.error["code"] == "worker_lost"


def test_a_worker_told_to_stop_finishes_its_streams_first(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str
) -> None:
    worker = start_worker("drains")
    listener = Listener(ready_stack, chat(faulty_model, "pieces=50 gap=0.03"))
    wait_until(lambda: len(listener.heard.events) > 3, 10, "the stream runs")
    worker.process.terminate()
    heard = listener.ended(10)
    assert heard.error is None
    assert heard.text.endswith("w49 ")
    assert worker.process.wait(10) == 0


def test_a_killed_gateway_stops_its_work_within_three_seconds_and_it_is_settled_once(
    ready_stack: OwnedStack,
) -> None:
    streamed = Listener(ready_stack, chat("tiny", "one", max_tokens=900, n=1))
    wait_until(lambda: len(streamed.heard.events) > 3, 10, "the stream runs")
    os.kill(ready_stack.pid("gateway"), signal.SIGKILL)
    assert wait_until(lambda: running(ready_stack) == 0, 5, "the worker has stopped") < 3
    streamed.join(5)
    assert streamed.broke is not None
    usage = settled_usage(ready_stack, streamed.heard.request_id, 45)
    assert usage["outcome"] == "lost"
    assert usage["meter_source"] == "worker"
    assert 3 < usage["completion_tokens"] < 900
    assert audit_row(ready_stack, streamed.heard.request_id)["outcome"] == "lost"
    wait_until(ready_stack.ready, 30, "the gateway is back")


def test_a_silent_call_of_a_killed_gateway_is_stopped_within_three_seconds(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str
) -> None:
    worker = start_worker("silent", "hang_first")
    Listener(ready_stack, chat(faulty_model, "x", stream=False))
    wait_until(lambda: running(ready_stack, worker.worker_id) == 1, 10, "the worker has it")
    os.kill(ready_stack.pid("gateway"), signal.SIGKILL)
    assert wait_until(lambda: running(ready_stack, worker.worker_id) == 0, 5, "the worker has stopped") < 3
    wait_until(ready_stack.ready, 30, "the gateway is back")


def _boot(stack: OwnedStack) -> str:
    beat = heartbeat(stack)
    assert beat is not None
    return beat.boot


def _wait_for_new_worker(stack: OwnedStack, old_boot: str) -> None:
    def is_new() -> bool:
        beat = heartbeat(stack)
        return beat is not None and beat.boot != old_boot and beat.state is WorkerState.READY

    wait_until(is_new, 120, "a new worker is ready")
    wait_until(stack.ready, 5, "the gateway knows it")


@pytest.mark.case("serving.24")
def test_an_engine_process_that_dies_ends_its_worker_and_both_are_started_again(
    ready_stack: OwnedStack,
) -> None:
    boot, worker = _boot(ready_stack), psutil.Process(ready_stack.pid("worker"))
    engine = max(worker.children(), key=lambda child: child.memory_info().rss)
    listener = Listener(ready_stack, chat("tiny", "x", max_tokens=900))
    wait_until(lambda: len(listener.heard.events) > 3, 10, "the stream runs")
    engine.kill()
    heard = listener.ended(10)
    assert heard.error is not None
    assert heard.done
    assert settled_usage(ready_stack, heard.request_id)["outcome"] in ("failed", "lost")
    _wait_for_new_worker(ready_stack, boot)
