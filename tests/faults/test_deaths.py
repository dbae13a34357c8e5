"""Workers and gateways that die, hang or stop during requests."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.faults.conftest import StartWorker
from tests.patience import PATIENCE_S
from tests.promises import assert_within, measured_again
from tests.stack.records import audit_row, running, settled_usage, usage_rows
from tests.stack.sse import ClientThread, chat
from tests.stacks import RunningStack, wait_until


@pytest.mark.case("serving.24")
@measured_again
def test_a_worker_killed_during_a_stream_ends_it_with_an_error_event_within_three_seconds(
    start_worker: StartWorker, ready_stack: RunningStack, faulty_model: str
) -> None:
    worker = start_worker("mid-1")
    client = ClientThread(ready_stack, chat(faulty_model, "pieces=1000 gap=0.02"))
    wait_until(lambda: len(client.reply.events) > 10, "the stream runs")
    kill_time = time.monotonic()
    worker.process.kill()
    reply = client.wait()
    assert_within(reply.ended_at - kill_time, 3)
    assert client.connection_error is None, "the HTTP response must end properly"
    assert reply.error is not None
    assert reply.error["code"] == "worker_lost"
    assert reply.error["type"] == "server_error"
    assert reply.is_done
    usage = settled_usage(ready_stack, reply.request_id)
    assert (usage["outcome"], usage["error_code"]) == ("lost", "worker_lost")
    assert usage["meter_source"] == "gateway", "the worker was killed before it could count"
    assert usage["completion_tokens"] > 0, "text that the client received is billed"
    time.sleep(1)
    assert len(usage_rows(ready_stack, reply.request_id)) == 1


@pytest.mark.parametrize("streamed", [True, False])
@measured_again
def test_a_request_without_output_is_retried_on_another_worker_after_a_kill(
    start_worker: StartWorker, ready_stack: RunningStack, faulty_model: str, streamed: bool
) -> None:
    first = start_worker("first", "hang_first")
    client = ClientThread(ready_stack, chat(faulty_model, "pieces=6", stream=streamed))
    wait_until(lambda: running(ready_stack, first.worker_id) == 1, "the first worker has it")
    second = start_worker("second")
    kill_time = time.monotonic()
    first.process.kill()
    reply = client.wait()
    assert_within(reply.ended_at - kill_time, 3)
    assert (reply.status, reply.error) == (200, None)
    assert reply.text == "w0 w1 w2 w3 w4 w5 "
    usage = settled_usage(ready_stack, reply.request_id)
    assert (usage["outcome"], usage["attempt"], usage["worker_id"]) == ("completed", 2, second.worker_id)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 6)
    assert audit_row(ready_stack, reply.request_id)["outcome"] == "completed"


@pytest.mark.parametrize("streamed", [True, False])
def test_a_request_without_output_is_retried_on_another_worker_after_a_hang(
    start_worker: StartWorker, ready_stack: RunningStack, faulty_model: str, streamed: bool
) -> None:
    first = start_worker("frozen", "hang_first")
    client = ClientThread(ready_stack, chat(faulty_model, "pieces=3", stream=streamed))
    wait_until(lambda: running(ready_stack, first.worker_id) == 1, "the first worker has it")
    start_worker("second")
    first.process.send_signal(signal.SIGSTOP)
    reply = client.wait()
    assert (reply.status, reply.error, reply.text) == (200, None, "w0 w1 w2 ")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_request_without_output_is_retried_on_another_worker_after_the_drain_time(
    start_worker: StartWorker, ready_stack: RunningStack, faulty_model: str, streamed: bool
) -> None:
    first = start_worker("leaves", "hang_first", CYLLM_WORKER_DRAIN_TIMEOUT_S="0.5")
    client = ClientThread(ready_stack, chat(faulty_model, "pieces=3", stream=streamed))
    wait_until(lambda: running(ready_stack, first.worker_id) == 1, "the first worker has it")
    start_worker("second")
    first.process.terminate()
    reply = client.wait()
    assert (reply.status, reply.error, reply.text) == (200, None, "w0 w1 w2 ")
    usage = settled_usage(ready_stack, reply.request_id)
    assert (usage["outcome"], usage["attempt"], usage["completion_tokens"]) == ("completed", 2, 3)


def test_a_request_fails_with_503_without_another_worker(
    start_worker: StartWorker, ready_stack: RunningStack, faulty_model: str
) -> None:
    worker = start_worker("only", "hang_first")
    client = ClientThread(ready_stack, chat(faulty_model, "x"))
    wait_until(lambda: running(ready_stack, worker.worker_id) == 1, "the worker has it")
    worker.process.kill()
    reply = client.wait()
    assert reply.status == 503
    assert reply.error is not None
    assert reply.error["code"] == "worker_lost"


def test_a_stopping_worker_finishes_its_streams(
    start_worker: StartWorker, ready_stack: RunningStack, faulty_model: str
) -> None:
    worker = start_worker("drains")
    client = ClientThread(ready_stack, chat(faulty_model, "pieces=50 gap=0.03"))
    wait_until(lambda: len(client.reply.events) > 3, "the stream runs")
    worker.process.terminate()
    reply = client.wait()
    assert reply.error is None
    assert reply.text.endswith("w49 ")
    assert worker.process.wait(PATIENCE_S) == 0


@measured_again
def test_a_call_without_output_of_a_killed_gateway_stops_within_three_seconds(
    start_worker: StartWorker, ready_stack: RunningStack, faulty_model: str
) -> None:
    worker = start_worker("silent", "hang_first")
    ClientThread(ready_stack, chat(faulty_model, "x", stream=False))
    wait_until(lambda: running(ready_stack, worker.worker_id) == 1, "the worker has it")
    os.kill(ready_stack.pid("gateway"), signal.SIGKILL)
    stopped_s = wait_until(lambda: running(ready_stack, worker.worker_id) == 0, "the worker has stopped")
    wait_until(ready_stack.ready, "the gateway is back")
    assert_within(stopped_s, 3)
