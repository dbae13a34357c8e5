"""Workers, engines and gateways that die during requests."""

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
from tests.stack.sse import Reply, chat, receive
from tests.stacks import wait_until


class ClientThread(threading.Thread):
    """A client in a separate thread."""

    def __init__(self, stack: OwnedStack, body: dict[str, object]) -> None:
        super().__init__(daemon=True)
        self.reply = Reply()
        self.connection_error: Exception | None = None
        self._stack, self._body = stack, body
        self.start()

    def run(self) -> None:
        try:
            with self._stack.client() as client:
                receive(client, self._body, self.reply)
        except httpx.HTTPError as error:
            self.connection_error = error
            self.reply.ended_at = time.monotonic()

    def wait(self, timeout_s: float) -> Reply:
        self.join(timeout_s)
        assert not self.is_alive(), f"no end within {timeout_s} s: {self.reply}"
        return self.reply


@pytest.mark.case("serving.24")
def test_a_worker_killed_during_a_stream_ends_it_with_an_error_event_within_three_seconds(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str
) -> None:
    worker = start_worker("mid-1")
    client = ClientThread(ready_stack, chat(faulty_model, "pieces=1000 gap=0.02"))
    wait_until(lambda: len(client.reply.events) > 10, 10, "the stream runs")
    kill_time = time.monotonic()
    worker.process.kill()
    reply = client.wait(5)
    assert reply.ended_at - kill_time < 3
    assert client.connection_error is None, "the HTTP response must end properly"
    assert reply.error is not None
    assert reply.error["code"] == "worker_lost"
    assert reply.error["type"] == "server_error"
    assert reply.done
    usage = settled_usage(ready_stack, reply.request_id)
    assert (usage["outcome"], usage["error_code"]) == ("lost", "worker_lost")
    assert usage["meter_source"] == "gateway", "the worker was killed before it could count"
    assert usage["completion_tokens"] > 0, "text that the client received is billed"
    time.sleep(1)
    assert len(usage_rows(ready_stack, reply.request_id)) == 1


@pytest.mark.parametrize("streamed", [True, False])
def test_a_request_without_output_is_retried_on_another_worker_after_a_kill(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str, streamed: bool
) -> None:
    first = start_worker("first", "hang_first")
    client = ClientThread(ready_stack, chat(faulty_model, "pieces=6", stream=streamed))
    wait_until(lambda: running(ready_stack, first.worker_id) == 1, 10, "the first worker has it")
    second = start_worker("second")
    kill_time = time.monotonic()
    first.process.kill()
    reply = client.wait(10)
    assert reply.ended_at - kill_time < 3
    assert (reply.status, reply.error) == (200, None)
    assert reply.text == "w0 w1 w2 w3 w4 w5 "
    usage = settled_usage(ready_stack, reply.request_id)
    assert (usage["outcome"], usage["attempt"], usage["worker_id"]) == ("completed", 2, second.worker_id)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 6)
    assert audit_row(ready_stack, reply.request_id)["outcome"] == "completed"


@pytest.mark.parametrize("streamed", [True, False])
def test_a_request_without_output_is_retried_on_another_worker_after_a_hang(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str, streamed: bool
) -> None:
    first = start_worker("frozen", "hang_first")
    client = ClientThread(ready_stack, chat(faulty_model, "pieces=3", stream=streamed))
    wait_until(lambda: running(ready_stack, first.worker_id) == 1, 10, "the first worker has it")
    start_worker("second")
    first.process.send_signal(signal.SIGSTOP)
    reply = client.wait(15)
    assert (reply.status, reply.error, reply.text) == (200, None, "w0 w1 w2 ")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_request_without_output_is_retried_on_another_worker_after_the_drain_time(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str, streamed: bool
) -> None:
    first = start_worker("leaves", "hang_first", CYLLM_WORKER_DRAIN_TIMEOUT_S="0.5")
    client = ClientThread(ready_stack, chat(faulty_model, "pieces=3", stream=streamed))
    wait_until(lambda: running(ready_stack, first.worker_id) == 1, 10, "the first worker has it")
    start_worker("second")
    first.process.terminate()
    reply = client.wait(10)
    assert (reply.status, reply.error, reply.text) == (200, None, "w0 w1 w2 ")
    usage = settled_usage(ready_stack, reply.request_id)
    assert (usage["outcome"], usage["attempt"], usage["completion_tokens"]) == ("completed", 2, 3)


def test_a_request_fails_with_503_without_another_worker(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str
) -> None:
    worker = start_worker("only", "hang_first")
    client = ClientThread(ready_stack, chat(faulty_model, "x"))
    wait_until(lambda: running(ready_stack, worker.worker_id) == 1, 10, "the worker has it")
    worker.process.kill()
    reply = client.wait(5)
    assert reply.status == 503
    assert reply.error is not None
    assert reply.error["code"] == "worker_lost"


def test_a_stopping_worker_finishes_its_streams(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str
) -> None:
    worker = start_worker("drains")
    client = ClientThread(ready_stack, chat(faulty_model, "pieces=50 gap=0.03"))
    wait_until(lambda: len(client.reply.events) > 3, 10, "the stream runs")
    worker.process.terminate()
    reply = client.wait(10)
    assert reply.error is None
    assert reply.text.endswith("w49 ")
    assert worker.process.wait(10) == 0


def test_requests_of_a_killed_gateway_stop_within_three_seconds_and_are_settled_once(
    ready_stack: OwnedStack,
) -> None:
    streamed = ClientThread(ready_stack, chat("tiny", "one", max_tokens=900, n=1))
    wait_until(lambda: len(streamed.reply.events) > 3, 10, "the stream runs")
    os.kill(ready_stack.pid("gateway"), signal.SIGKILL)
    assert wait_until(lambda: running(ready_stack) == 0, 5, "the worker has stopped") < 3
    streamed.join(5)
    assert streamed.connection_error is not None
    usage = settled_usage(ready_stack, streamed.reply.request_id, 45)
    assert usage["outcome"] == "lost"
    assert usage["meter_source"] == "worker"
    assert 3 < usage["completion_tokens"] < 900
    assert audit_row(ready_stack, streamed.reply.request_id)["outcome"] == "lost"
    wait_until(ready_stack.ready, 30, "the gateway is back")


def test_a_call_without_output_of_a_killed_gateway_stops_within_three_seconds(
    start_worker: StartWorker, ready_stack: OwnedStack, faulty_model: str
) -> None:
    worker = start_worker("silent", "hang_first")
    ClientThread(ready_stack, chat(faulty_model, "x", stream=False))
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
    wait_until(stack.ready, 5, "the gateway routes to it")


@pytest.mark.case("serving.24")
def test_a_dead_engine_process_ends_its_worker_and_both_are_restarted(
    ready_stack: OwnedStack,
) -> None:
    boot, worker = _boot(ready_stack), psutil.Process(ready_stack.pid("worker"))
    engine = max(worker.children(), key=lambda child: child.memory_info().rss)
    client = ClientThread(ready_stack, chat("tiny", "x", max_tokens=900))
    wait_until(lambda: len(client.reply.events) > 3, 10, "the stream runs")
    engine.kill()
    reply = client.wait(10)
    assert reply.error is not None
    assert reply.done
    assert settled_usage(ready_stack, reply.request_id)["outcome"] in ("failed", "lost")
    _wait_for_new_worker(ready_stack, boot)
