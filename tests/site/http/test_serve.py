"""Limits for unauthenticated clients, on a production server."""

from __future__ import annotations

import socket

import httpx
import psutil
import pytest

from deploy.local.processes.supervisor import Supervisor
from tests.patience import PATIENCE_S
from tests.site_server import is_alive


def _read_all(connection: socket.socket) -> bytes:
    response = b""
    connection.settimeout(PATIENCE_S)
    try:
        while data := connection.recv(65536):
            response += data
    except (ConnectionResetError, TimeoutError):
        pass
    return response


def test_endless_headers_are_rejected_and_use_no_memory(port: int, test_servers: Supervisor) -> None:
    pid = test_servers.pid("site-server")
    assert pid is not None
    baseline = psutil.Process(pid).memory_info().rss
    for line in (b"a:b\r\n" * 4000, b"x" * 20000):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nx-long: 1")
            sent_bytes = 0
            try:
                while sent_bytes < 20_000_000:
                    connection.sendall(line)
                    sent_bytes += len(line)
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert sent_bytes < 20_000_000
    assert psutil.Process(pid).memory_info().rss - baseline < 20 * 2**20
    assert is_alive(port)


def test_a_large_header_within_the_limit_is_accepted(port: int) -> None:
    response = httpx.get(f"http://127.0.0.1:{port}/v1/models", headers={"x-large": "x" * 30_000})
    assert response.status_code == 401


def test_a_pipelined_request_is_ignored_and_the_connection_closed(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        one = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(one * 3)
        response = _read_all(connection)
    assert response.count(b"HTTP/1.1 401") == 1
    assert b"connection: close" in response.lower()


def test_consecutive_requests_share_a_connection(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert [client.get("/v1/models").status_code for _ in range(3)] == [401, 401, 401]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/admin/"])
def test_a_websocket_upgrade_is_handled_as_plain_http(port: int, path: str) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
    }
    assert httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers).status_code < 500


@pytest.mark.parametrize("path", ["//v1/completions", "/v1/none", "/health/none"])
def test_paths_near_the_api_get_json_errors(port: int, path: str) -> None:
    response = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Host": "made.up"})
    assert response.status_code in (401, 404, 405)
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
