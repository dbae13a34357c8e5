"""Errors of Django's pages: HTML for browsers, JSON for API clients."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from cyllm_site.middleware.json_errors import JsonErrors
from tests.site.harness.raw import ask
from tests.site_server import is_alive

BROWSER = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
HEAD = b"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/nothing", {"Accept": "application/json"}, 404, "unknown_url"),
        ("GET", "/nothing", {"Accept": "*/*"}, 404, "unknown_url"),
        ("GET", "/nothing?a=<script>", {"Accept": "text/html;q=0, */*"}, 404, "unknown_url"),
        ("POST", "/chat/completions", {"Accept": "application/json"}, 404, "unknown_url"),
        ("GET", "/static/nothing.css", {"Accept": "application/json"}, 404, "unknown_url"),
        ("POST", "/admin/login/", {"Accept": "application/json"}, 403, "forbidden"),
        ("GET", "/admin/", {"Accept": "application/json", "Host": "evil.example"}, 400, "invalid_request"),
        ("GET", "/nothing", {"Host": "evil.example"}, 400, "invalid_request"),
    ],
)
def test_an_api_client_gets_page_errors_from_the_catalogue(
    port: int, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    response = httpx.request(method, f"http://127.0.0.1:{port}{path}", headers=headers)
    assert response.headers["content-type"] == "application/json"
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/", BROWSER, 200),
        ("/", "*/*", 200),
        ("/nothing", BROWSER, 404),
        ("/admin/nothing/", "*/*", 302),
        ("/static/no.css", "*/*", 404),
    ],
)
def test_browsers_and_browser_pages_get_html(port: int, path: str, accept: str, status: int) -> None:
    response = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    assert (response.status_code, response.headers["content-type"]) == (status, "text/html; charset=utf-8")


@pytest.mark.criterion("6.8")
def test_pages_limit_the_size_of_bodies(port: int) -> None:
    response = ask(
        port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", (b"186a0\r\n" + b"a" * 100_000 + b"\r\n") * 25
    )
    assert (response.status, response.error["code"]) == (413, "request_too_large")
    assert is_alive(port)


@pytest.mark.criterion("6.9")
def test_pages_limit_the_duration_of_bodies(port: int) -> None:
    response = ask(port, HEAD + b"Content-Length: 10\r\n\r\na")
    assert (response.status, response.error["code"]) == (408, "client_timeout")


@pytest.mark.criterion("6.8")
def test_a_form_with_too_many_fields_gets_an_error_of_the_catalogue(port: int) -> None:
    form = b"&".join(b"f%d=1" % number for number in range(2000))
    head = HEAD + b"Content-Type: application/x-www-form-urlencoded\r\nCookie: csrftoken=" + b"a" * 32
    response = ask(port, head + b"\r\nContent-Length: %d\r\n\r\n" % len(form) + form)
    assert (response.status, response.error["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["/console/sign-in/?a=b", "/api/admin/v1/tenants?limit=1", "/nothing?a=b"])
def test_another_encoding_than_utf_8_is_refused(port: int, path: str) -> None:
    for parameter in ("charset=hex", "charset=undefined", "charset=utf-16", "charset*=utf-8''hex"):
        fields = {"content-type": f"multipart/form-data; boundary=b; {parameter}"}
        response = httpx.post(f"http://127.0.0.1:{port}{path}", headers=fields, content=b"--b--")
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


def test_a_malformed_body_is_rejected_by_pages_too(port: int) -> None:
    response = ask(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n")
    assert (response.status, response.error["code"]) == (400, "invalid_http_request")


def test_a_disconnect_during_a_page_request_is_harmless(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(HEAD + b"Content-Length: 10\r\n\r\na")
    assert is_alive(port)


@pytest.mark.parametrize(
    ("status", "code"), [(405, "method_not_allowed"), (413, "invalid_request"), (500, "internal_error")]
)
async def test_djangos_plain_text_errors_are_replaced(status: int, code: str) -> None:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    json_errors = JsonErrors({"method": "PUT", "path": "/a"}, send)
    headers = [(b"Content-Type", b"text/plain"), (b"Allow", b"GET, POST")]
    await json_errors({"type": "http.response.start", "status": status, "headers": headers})
    await json_errors({"type": "http.response.body", "body": b"plain text"})
    start, body = messages
    assert json.loads(body["body"])["error"]["code"] == code
    assert dict(start["headers"]).get(b"allow") == (b"GET, POST" if status == 405 else None)
