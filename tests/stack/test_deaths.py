"""Engines, workers and gateways that die during requests."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from inference_worker.protocol.messages import WorkerState
from tests.patience import PATIENCE_S
from tests.promises import assert_within, measured_again
from tests.stack.conftest import OwnedStack
from tests.stack.records import audit_row, heartbeat, running, settled_usage
from tests.stack.sse import ClientThread, chat
from tests.stacks import wait_until


@measured_again
def test_requests_of_a_killed_gateway_stop_within_three_seconds_and_are_settled_once(
    ready_stack: OwnedStack,
) -> None:
    streamed = ClientThread(ready_stack, chat("tiny", "one", max_tokens=900, n=1))
    wait_until(lambda: len(streamed.reply.events) > 3, "the stream runs")
    os.kill(ready_stack.pid("gateway"), signal.SIGKILL)
    stopped_s = wait_until(lambda: running(ready_stack) == 0, "the worker has stopped")
    streamed.join(PATIENCE_S)
    assert streamed.connection_error is not None
    usage = settled_usage(ready_stack, streamed.reply.request_id)
    assert usage["outcome"] == "lost"
    assert usage["meter_source"] == "worker"
    assert 3 < usage["completion_tokens"] < 900
    assert audit_row(ready_stack, streamed.reply.request_id)["outcome"] == "lost"
    wait_until(ready_stack.ready, "the gateway is back")
    assert_within(stopped_s, 3)


def _boot(stack: OwnedStack) -> str:
    beat = heartbeat(stack)
    assert beat is not None
    return beat.boot


def _wait_for_new_worker(stack: OwnedStack, old_boot: str) -> None:
    def is_new() -> bool:
        beat = heartbeat(stack)
        return beat is not None and beat.boot != old_boot and beat.state is WorkerState.READY

    wait_until(is_new, "a new worker is ready")
    wait_until(stack.ready, "the gateway routes to it")


@pytest.mark.case("serving.24")
def test_a_dead_engine_process_ends_its_worker_and_both_are_restarted(
    ready_stack: OwnedStack,
) -> None:
    boot, worker = _boot(ready_stack), psutil.Process(ready_stack.pid("worker"))
    engine = max(worker.children(), key=lambda child: child.memory_info().rss)
    client = ClientThread(ready_stack, chat("tiny", "x", max_tokens=900))
    wait_until(lambda: len(client.reply.events) > 3, "the stream runs")
    engine.kill()
    reply = client.wait()
    assert reply.error is not None
    assert reply.is_done
    assert settled_usage(ready_stack, reply.request_id)["outcome"] in ("failed", "lost")
    _wait_for_new_worker(ready_stack, boot)
