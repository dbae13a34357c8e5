"""Malformed HTTP requests get an error of the catalogue."""

from __future__ import annotations

import socket

import pytest
import redis

from inference_worker.protocol.messages import Outcome, RequestEnded
from tests.gateway.harness.records import facts_of
from tests.patience import PATIENCE_S
from tests.site.harness.raw import ask, read_response
from tests.stacks import wait_until

GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"\r\n"
NOT_HTTP = "invalid_http_request"

MALFORMED: dict[str, tuple[bytes, int, str]] = {
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, NOT_HTTP),
    "words": (b"hello there\r\n\r\n", 400, NOT_HTTP),
    "an unknown method": (b"BREW /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 400, NOT_HTTP),
    "a method in small letters": (b"get /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 400, NOT_HTTP),
    "no request target": (b"GET HTTP/1.1\r\nHost: x\r\n\r\n", 400, NOT_HTTP),
    "a target with spaces": (b"GET /v1 /models HTTP/1.1\r\nHost: x\r\n\r\n", 400, NOT_HTTP),
    "a target with raw bytes": (b"GET /v1/\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, NOT_HTTP),
    "a tunnel": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n", 400, NOT_HTTP),
    "the server as a whole": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400, NOT_HTTP),
    "a header without a colon": (GET + b"nothing\r\n\r\n", 400, NOT_HTTP),
    "a space before the colon": (GET + b"X-A : b\r\n\r\n", 400, NOT_HTTP),
    "a NUL in a value": (GET + b"X-A: a\x00b\r\n\r\n", 400, NOT_HTTP),
    "a bare line feed in a name": (GET + b"X\n-A: b\r\n\r\n", 400, NOT_HTTP),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, NOT_HTTP),
    "a length that is no number": (POST + b"Content-Length: two\r\n\r\n{}", 400, NOT_HTTP),
    "a negative length": (POST + b"Content-Length: -2\r\n\r\n{}", 400, NOT_HTTP),
    "a length and chunks": (
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        400,
        NOT_HTTP,
    ),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version_not_supported"),
    "HTTP/2 in a request": (b"GET /v1/models HTTP/2.0\r\nHost: x\r\n\r\n", 505, "http_version_not_supported"),
    "HTTP/9": (b"GET /v1/models HTTP/9.9\r\nHost: x\r\n\r\n", 505, "http_version_not_supported"),
    "no host": (b"GET /v1/models HTTP/1.1\r\n\r\n", 400, NOT_HTTP),
    "two hosts": (GET + b"Host: y\r\n\r\n", 400, NOT_HTTP),
    "a host that is none": (b"GET /v1/models HTTP/1.1\r\nHost: a b/c\r\n\r\n", 400, NOT_HTTP),
    "no host on a page": (b"GET /admin/ HTTP/1.1\r\n\r\n", 400, NOT_HTTP),
    "an expectation": (GET + b"Expect: a miracle\r\n\r\n", 417, "expectation_failed"),
    "two expectations": (GET + b"Expect: 100-continue, x\r\n\r\n", 417, "expectation_failed"),
    "a long head": (GET + b"X-A: " + b"a" * 66_000 + b"\r\n\r\n", 431, "headers_too_large"),
    "many headers": (GET + b"X-A: b\r\n" * 9000 + END, 431, "headers_too_large"),
    "a long address": (b"GET /" + b"a" * 66_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "headers_too_large"),
}


@pytest.mark.criterion("1.7")
@pytest.mark.criterion("4.2")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_gets_an_error_of_the_catalogue_and_a_closed_connection(
    port: int, name: str
) -> None:
    data, status, code = MALFORMED[name]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(PATIENCE_S)
        connection.sendall(data)
        response = read_response(connection)
    assert (response.status, response.error["code"]) == (status, code)
    assert response.headers["x-request-id"]
    assert response.headers["connection"] == "close"
    assert response.rest == b""


def _authorized(head: bytes, key: str) -> bytes:
    return head.replace(b"\r\nHost", b"\r\nAuthorization: Bearer " + key.encode() + b"\r\nHost", 1)


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"zz\r\n{}\r\n0\r\n\r\n", NOT_HTTP),
        (b"2\r\n{}{}\r\n0\r\n\r\n", NOT_HTTP),
        (b"-1\r\n{}\r\n0\r\n\r\n", NOT_HTTP),
        (b"fffffffffffffffff\r\n{}\r\n", NOT_HTTP),
        (b"2\r\n{}\r\n0\r\nX-A: " + b"a" * 400_000, "headers_too_large"),
        (b"2\r\n{}\r\n0\r\n" + b"X-A: b\r\n" * 10_000, "headers_too_large"),
        (b"2;" + b"x" * 400_000, "headers_too_large"),
    ],
)
def test_malformed_chunks_and_trailers_end_the_waiting_request(
    port: int, live_key: str, body: bytes, code: str
) -> None:
    response = ask(port, _authorized(CHUNKED, live_key), body)
    assert response.error["code"] == code
    assert response.headers["connection"] == "close"


def test_a_transfer_encoding_without_chunks_is_rejected(port: int, live_key: str) -> None:
    response = ask(port, _authorized(POST, live_key) + b"Transfer-Encoding: gzip\r\n\r\n{}")
    assert response.error["code"] == NOT_HTTP


def test_trailers_do_not_change_the_headers(port: int, live_key: str) -> None:
    trailers = b"0\r\nAuthorization: Bearer " + live_key.encode() + b"\r\n\r\n"
    response = ask(port, CHUNKED + b"2\r\n{}\r\n" + trailers)
    assert (response.status, response.error["code"]) == (401, "missing_api_key")


def test_expect_continue_is_honoured_except_in_http_1_0(port: int, live_key: str) -> None:
    head = _authorized(POST, live_key) + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(PATIENCE_S)
        connection.sendall(head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert read_response(connection).error["code"] == "missing_required_parameter"
    assert ask(port, head.replace(b"HTTP/1.1", b"HTTP/1.0") + b"{}").status == 400


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        (b"http://x/v1/models", 401, "missing_api_key"),
        (b"http://elsewhere.example/v1/models", 401, "missing_api_key"),
        (b"/v1/models?key=1", 401, "missing_api_key"),
        (b"/%76%31/models", 401, "missing_api_key"),
        (b"/v1/%6dodels", 401, "missing_api_key"),
        (b"/v1%2fmodels", 401, "missing_api_key"),
        (b"/v1/models/%00", 401, "missing_api_key"),
        (b"/v1/%ff%fe", 404, "unknown_url"),
        (b"/v1/%zz", 404, "unknown_url"),
        (b"//v1/models", 401, "missing_api_key"),
        (b"/v1/../admin/", 404, "unknown_url"),
        (b"/v1/./models", 404, "unknown_url"),
        (b"/V1/models", 404, "unknown_url"),
        (b"/v1/models#x", 401, "missing_api_key"),
        (b"/v1/<script>", 404, "unknown_url"),
        (b"/chat/completions", 404, "unknown_url"),
    ],
)
def test_unusual_targets_are_used_literally_and_get_json_errors(
    port: int, target: bytes, status: int, code: str
) -> None:
    response = ask(port, b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert (response.status, response.error["code"]) == (status, code)


@pytest.mark.parametrize("target", [b"/", b"http://x", b"http://x?a=b"])
def test_targets_without_a_path_are_the_landing_page(port: int, target: bytes) -> None:
    response = ask(port, b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    assert response.status == 200
    assert b"<h1>" in response.body


@pytest.mark.parametrize("host", [b"evil.example", b"127.0.0.1", b"[::1]:80", b""])
def test_the_api_accepts_every_host_name(port: int, host: bytes) -> None:
    response = ask(port, b"GET /v1/models HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert response.error["code"] == "missing_api_key"


def test_responses_to_head_and_options_have_no_body(port: int) -> None:
    request = b"HEAD /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    head = ask(port, request, has_body=False)
    assert (head.status, head.body, head.headers["content-type"]) == (200, b"", "application/json")
    options = ask(port, GET.replace(b"GET", b"OPTIONS") + END)
    assert (options.status, options.body, options.headers["allow"]) == (204, b"", "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("request_bytes", [GET + END, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_half_closed_request_still_gets_a_quick_response(port: int, request_bytes: bytes) -> None:
    assert ask(port, request_bytes, half_close=True).status in (200, 401)


@pytest.mark.parametrize("request_bytes", [b"GET /v1/models HT", GET, b"{"])
def test_an_incomplete_head_is_rejected(port: int, request_bytes: bytes) -> None:
    assert ask(port, request_bytes, half_close=True).error["code"] == NOT_HTTP


def test_a_half_closed_body_is_a_disconnect(port: int, live_key: str) -> None:
    response = ask(port, _authorized(POST, live_key) + b"Content-Length: 9\r\n\r\n{", half_close=True)
    assert (response.status, response.error["code"]) == (499, "client_disconnected")


def test_a_rejected_request_with_a_readable_head_is_recorded(port: int, redis_client: redis.Redis) -> None:
    request = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: x\r\nX-Request-ID: odd-1\r\n\r\n"
    assert ask(port, request).headers["x-request-id"] == "odd-1"
    wait_until(lambda: bool(facts_of(redis_client)), "the request is recorded")
    (fact,) = facts_of(redis_client)
    assert isinstance(fact, RequestEnded)
    assert (fact.correlation_id, fact.endpoint, fact.client_ip) == ("odd-1", "/v1/completions", "127.0.0.1")
    assert (fact.status, fact.outcome, fact.error_code) == (417, Outcome.REFUSED, "expectation_failed")
