"""Resumable streams and background responses after the death or stop of their gateway."""

from __future__ import annotations

import json
import os
import signal

from tests.faults.conftest import StartWorker
from tests.stack.records import audit_row, settled_usage
from tests.stack.resumable import CONTINUE, begin, resume, text_of
from tests.stack.sse import chat
from tests.stacks import RunningStack, wait_until


def test_a_stream_of_a_killed_gateway_can_be_read_and_ends_with_an_error_event(
    start_worker: StartWorker, ready_stack: RunningStack, faulty_model: str
) -> None:
    start_worker("detached")
    body = chat(faulty_model, "pieces=1000 gap=0.03", stream_options=CONTINUE)
    response_body = {"model": faulty_model, "input": "pieces=1000 gap=0.03", "background": True}
    with ready_stack.client() as client:
        stream_id, request_id, before = begin(client, body, until=10)
        response_id = client.post("/v1/responses", json=response_body).json()["id"]
        path = f"/v1/responses/{response_id}"
        wait_until(lambda: client.get(path).json()["status"] == "in_progress", "the response is in progress")
    gateway_pid = ready_stack.pid("gateway")
    os.kill(gateway_pid, signal.SIGKILL)
    wait_until(lambda: ready_stack.pid("gateway") != gateway_pid, "the gateway is restarted")
    wait_until(ready_stack.ready, "the gateway is back")
    with ready_stack.client() as client:
        after = resume(client, f"/v1/streams/{stream_id}?starting_after={before[-1][0]}")
        events = before + after
        assert [number for number, _ in events] == list(range(len(events)))
        words = "".join(f"w{number} " for number in range(1000))
        assert words.startswith(text_of(events))
        assert json.loads(events[-2][1])["error"]["code"] == "stream_lost"
        assert events[-1][1] == "[DONE]"
        assert resume(client, f"/v1/streams/{stream_id}?starting_after={len(events) - 3}") == events[-2:]
        wait_until(lambda: client.get(path).json()["status"] == "failed", "the response has failed")
        assert client.get(path).json()["error"]["code"] == "server_error"
    usage = settled_usage(ready_stack, request_id)
    assert (usage["outcome"], usage["meter_source"]) == ("lost", "worker")
    assert usage["completion_tokens"] >= 10
    assert audit_row(ready_stack, request_id)["outcome"] == "lost"


def test_a_stopping_gateway_ends_detached_streams_with_an_error_event(
    start_worker: StartWorker, ready_stack: RunningStack, faulty_model: str
) -> None:
    start_worker("detached")
    with ready_stack.client() as client:
        body = chat(faulty_model, "pieces=1000 gap=0.03", stream_options=CONTINUE)
        stream_id, request_id, before = begin(client, body, until=5)
    old = ready_stack.pid("gateway")
    os.kill(old, signal.SIGTERM)
    wait_until(lambda: ready_stack.pid("gateway") != old, "the gateway is restarted")
    wait_until(ready_stack.ready, "the gateway is back")
    with ready_stack.client() as client:
        after = resume(client, f"/v1/streams/{stream_id}?starting_after={before[-1][0]}")
    assert [number for number, _ in before + after] == list(range(len(before) + len(after)))
    assert json.loads(after[-2][1])["error"]["code"] == "gateway_stopping"
    assert after[-1][1] == "[DONE]"
    usage = settled_usage(ready_stack, request_id)
    assert (usage["outcome"], usage["error_code"]) == ("failed", "gateway_stopping")
    assert usage["completion_tokens"] >= len(before) + len(after) - 4
