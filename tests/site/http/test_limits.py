"""Requests beyond each limit are rejected early, over real connections."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from deploy.local.processes.supervisor import Supervisor
from tests.patience import PATIENCE_S
from tests.site.harness.raw import RawResponse, ask, read_response

CHAT = "/v1/chat/completions"
JSON = "Content-Type: application/json"
LIMIT = 2_000_000  # CYLLM_MAX_BODY_BYTES of the gateway under test
OBJECT = "object_above_max_properties"
TIMEOUT_S = 2.0  # CYLLM_CLIENT_BODY_TIMEOUT_S


def _head(key: str, path: str = CHAT) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
    )
    return "\r\n".join(lines).encode() + b"\r\n"


def _post(port: int, key: str, body: bytes, path: str = CHAT) -> RawResponse:
    return ask(port, _head(key, path) + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)


@pytest.fixture
def memory_growth(test_servers: Supervisor, port: int) -> Callable[[], int]:
    """A function that returns the growth of the gateway's memory in bytes since the test began."""
    pid = test_servers.pid("site-server")
    assert pid is not None
    process = psutil.Process(pid)
    baseline = process.memory_info().rss
    return lambda: int(process.memory_info().rss - baseline)


@pytest.mark.criterion("6.8")
def test_a_body_with_an_excessive_content_length_is_rejected_unread(
    port: int, live_key: str, memory_growth: Callable[[], int]
) -> None:
    started_at = time.monotonic()
    response = ask(port, _head(live_key) + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n")
    assert (response.status, response.error["code"]) == (413, "request_too_large")
    assert str(LIMIT) in response.error["message"]
    assert time.monotonic() - started_at < 3
    assert memory_growth() < 2 * 2**20


@pytest.mark.criterion("6.8")
def test_chunks_beyond_the_limit_are_rejected_and_use_no_memory(
    port: int, live_key: str, memory_growth: Callable[[], int]
) -> None:
    chunk = b"186a0\r\n" + b"a" * 100_000 + b"\r\n"
    highest = 0
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.settimeout(PATIENCE_S)
            connection.sendall(_head(live_key) + b"Transfer-Encoding: chunked\r\n\r\n")
            sent_bytes = 0
            try:
                while sent_bytes < 100 * LIMIT:
                    connection.sendall(chunk)
                    sent_bytes += len(chunk)
                    highest = max(highest, memory_growth())
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert sent_bytes < 20 * LIMIT, "the gateway kept reading"
    assert highest < 12 * 2**20
    # A client that stops in time receives the error.
    response = ask(port, _head(live_key) + b"Transfer-Encoding: chunked\r\n\r\n", chunk * 25)
    assert (response.status, response.error["code"]) == (413, "request_too_large")


@pytest.mark.criterion("6.8")
def test_bodies_of_unauthenticated_clients_use_no_memory(port: int, memory_growth: Callable[[], int]) -> None:
    connections = []
    for _ in range(50):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.settimeout(0.2)
        head = _head("sk-cy-nobody-nothing") + f"Content-Length: {LIMIT}\r\n\r\n".encode()
        with contextlib.suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
            connection.sendall(head + b"a" * (LIMIT - 1))
        connections.append(connection)
    growth = memory_growth()
    assert read_response(connections[0]).error["code"] == "invalid_api_key"
    for connection in connections:
        connection.close()
    assert growth < 30 * 2**20, "50 bodies of 2 MB each"


def _chat(**changes: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], **changes}).encode()


def _messages(count: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "x"}] * count


@pytest.mark.criterion("6.8")
@pytest.mark.parametrize(
    ("body", "code", "param", "number"),
    [
        (_chat(messages=_messages(2049)), "array_above_max_length", "messages", "2048"),
        (
            _chat(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}] * 20_000}]),
            "array_above_max_length",
            "messages",
            "16384",
        ),
        (b'{"messages": ' + b"[" * 64 + b"]" * 64 + b"}", "json_too_deep", None, "64"),
        (b"[" * 1_500_000, "json_too_deep", None, "64"),
        (b'{"a":' * 300_000, "json_too_deep", None, "64"),
        (b'{"messages": [' + b"[]," * 100_001 + b"[]]}", "json_too_complex", None, "100000"),
        (_chat(tools=[{}] * 129), "array_above_max_length", "tools", "128"),
        (
            _chat(logit_bias={str(n): 0 for n in range(301)}),
            "object_above_max_properties",
            "logit_bias",
            "300",
        ),
        (_chat(metadata={str(n): "" for n in range(17)}), OBJECT, "metadata", "16"),
        (_chat(**{f"p{n}": 0 for n in range(300)}), "invalid_request", "p254", "256"),
        (_chat(**{"k" * 1025: 0}), "string_above_max_length", "k" * 200 + "…", "1024"),
        (b'{"n": ' + b"9" * 5000 + b"}", "invalid_json", None, "too long"),
    ],
)
def test_excessive_counts_and_depths_are_rejected_quickly_and_by_name(
    port: int,
    live_key: str,
    memory_growth: Callable[[], int],
    body: bytes,
    code: str,
    param: str | None,
    number: str,
) -> None:
    started_at = time.monotonic()
    response = _post(port, live_key, body)
    assert (response.status, response.error["code"], response.error["param"]) == (400, code, param)
    assert number in response.error["message"]
    assert time.monotonic() - started_at < 5
    assert memory_growth() < 40 * 2**20


@pytest.mark.criterion("6.8")
def test_a_request_at_the_limits_is_accepted(port: int, live_key: str) -> None:
    body = _chat(messages=_messages(2048), metadata={str(n): "" for n in range(16)})
    assert _post(port, live_key, body).error["code"] == "model_not_found"


@pytest.mark.criterion("6.9")
@pytest.mark.parametrize("is_dripping", [False, True])
def test_a_slow_body_times_out_with_elapsed_time_and_limit(
    port: int, live_key: str, is_dripping: bool
) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(0.3)
        started_at = time.monotonic()
        connection.sendall(_head(live_key) + b"Content-Length: 1000\r\n\r\n{")
        response = None
        while response is None:
            assert time.monotonic() - started_at < PATIENCE_S
            try:
                if is_dripping:
                    connection.sendall(b" ")
                response = read_response(connection)
            except TimeoutError:
                continue
        elapsed_s = time.monotonic() - started_at
    assert (response.status, response.error["code"]) == (408, "client_timeout")
    assert elapsed_s >= TIMEOUT_S - 0.1
    assert re.search(r"within 2 s \(\d+\.\d s elapsed\)", response.error["message"])
    assert response.headers["connection"] == "close"
