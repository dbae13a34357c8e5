"""A client that disconnects stops its request, streamed or not; the request is recorded once."""

from __future__ import annotations

import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.promises import assert_within, measured_again
from tests.stack.conftest import OwnedStack
from tests.stack.records import audit_row, running, settled_usage
from tests.stack.sse import chat
from tests.stacks import wait_until


def _open_request(stack: OwnedStack, body: dict[str, object], request_id: str) -> socket.socket:
    parts = urlsplit(stack.base_url)
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n"
        f"X-Request-ID: {request_id}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    connection = socket.create_connection((parts.hostname or "", parts.port or 0))
    connection.sendall(head.encode() + data)
    return connection


def _request_id(stack: OwnedStack, correlation_id: str) -> str:
    request_ids: list[str] = []

    def recorded() -> bool:
        with stack.database() as connection:
            rows = connection.execute(
                "SELECT request_id FROM tenants_usagerecord WHERE correlation_id = %s", (correlation_id,)
            ).fetchall()
        request_ids[:] = [str(row[0]) for row in rows]
        return bool(request_ids)

    wait_until(recorded, f"{correlation_id} is recorded")
    (request_id,) = request_ids
    return request_id


@pytest.mark.criterion("5.2")
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.case("serving.19", "serving.20")
@measured_again
def test_the_engine_is_idle_within_a_second_after_a_disconnect(
    ready_stack: OwnedStack, streamed: bool
) -> None:
    correlation_id = f"gone-{streamed}-{time.time_ns()}"
    body = chat("tiny", "hello", max_tokens=900)
    body["stream"] = streamed
    connection = _open_request(ready_stack, body, correlation_id)
    wait_until(lambda: running(ready_stack) == 1, "the request runs")
    time.sleep(0.2)  # past the first token: the heartbeat may have come before it
    closed_at = time.time()
    connection.close()
    wait_until(lambda: running(ready_stack) == 0, "the engine is idle")
    request_id = _request_id(ready_stack, correlation_id)
    usage = settled_usage(ready_stack, request_id)
    assert usage["outcome"] == "cancelled"
    assert usage["meter_source"] == "worker"
    assert 0 < usage["completion_tokens"] < 900
    audit = audit_row(ready_stack, request_id)
    assert (audit["outcome"], audit["correlation_id"]) == ("cancelled", correlation_id)
    assert_within(usage["attempts"]["1"]["at"] - closed_at, 1)  # the engine ended it


@pytest.mark.case("serving.19")
def test_a_pipelined_request_does_not_hide_a_disconnect(ready_stack: OwnedStack) -> None:
    correlation_id = f"pipelined-{time.time_ns()}"
    connection = _open_request(ready_stack, chat("tiny", "hello", 900, stream=False), correlation_id)
    wait_until(lambda: running(ready_stack) == 1, "the request runs")
    connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.2)
    connection.close()
    usage = settled_usage(ready_stack, _request_id(ready_stack, correlation_id))
    assert usage["outcome"] == "cancelled"
    assert usage["completion_tokens"] < 900


@pytest.mark.case("serving.19", "serving.21")
def test_a_hundred_disconnects_at_once_leave_nothing_running(ready_stack: OwnedStack) -> None:
    connections = [
        _open_request(ready_stack, chat("tiny", f"bye {n}", max_tokens=900), f"crowd-{n}") for n in range(100)
    ]
    wait_until(lambda: running(ready_stack) > 50, "most of them run")
    for connection in connections:
        connection.close()
    wait_until(lambda: running(ready_stack) == 0, "the engine is idle")
    for number in range(100):
        usage = settled_usage(ready_stack, _request_id(ready_stack, f"crowd-{number}"))
        assert usage["outcome"] == "cancelled"
    with httpx.Client(base_url=ready_stack.base_url, headers=ready_stack.headers()) as client:
        answer = client.post("/v1/chat/completions", json=chat("tiny", "still there?", 4, stream=False))
    assert answer.status_code == 200
