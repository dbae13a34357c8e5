"""Errors of Django's pages: HTML for browsers, the API's form for whoever is none."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from cyllm_site.pages import InCatalogueForm
from tests.site.conftest import is_alive
from tests.site.raw import ask

BROWSER = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
HEAD = b"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/", {"Accept": "application/json"}, 404, "unknown_url"),
        ("GET", "/", {"Accept": "*/*"}, 404, "unknown_url"),
        ("GET", "/nothing?a=<script>", {"Accept": "text/html;q=0, */*"}, 404, "unknown_url"),
        ("POST", "/chat/completions", {"Accept": "application/json"}, 404, "unknown_url"),
        ("GET", "/static/nothing.css", {"Accept": "application/json"}, 404, "unknown_url"),
        ("POST", "/admin/login/", {"Accept": "application/json"}, 403, "forbidden"),
        ("GET", "/admin/", {"Accept": "application/json", "Host": "evil.example"}, 400, "invalid_request"),
        ("GET", "/nothing", {"Host": "evil.example"}, 400, "invalid_request"),
    ],
)
def test_an_error_of_a_page_is_an_entry_of_the_catalogue_for_a_program(
    port: int, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = httpx.request(method, f"http://127.0.0.1:{port}{path}", headers=headers)
    assert answer.headers["content-type"] == "application/json"
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/", BROWSER, 404),
        ("/nothing", BROWSER, 404),
        ("/admin/nothing/", "*/*", 302),
        ("/static/no.css", "*/*", 404),
    ],
)
def test_browsers_and_pages_made_for_them_keep_html(port: int, path: str, accept: str, status: int) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")


@pytest.mark.criterion("6.8")
def test_a_page_takes_no_more_than_a_body_may_have(port: int) -> None:
    answer = ask(
        port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", (b"186a0\r\n" + b"a" * 100_000 + b"\r\n") * 25
    )
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert is_alive(port)


@pytest.mark.criterion("6.9")
def test_a_page_waits_no_longer_for_a_body_than_the_api(port: int) -> None:
    answer = ask(port, HEAD + b"Content-Length: 10\r\n\r\na")
    assert (answer.status, answer.error["code"]) == (408, "client_timeout")


@pytest.mark.criterion("6.8")
def test_a_form_with_too_many_fields_is_refused_in_words_of_the_catalogue(port: int) -> None:
    form = b"&".join(b"f%d=1" % number for number in range(2000))
    head = HEAD + b"Content-Type: application/x-www-form-urlencoded\r\nCookie: csrftoken=" + b"a" * 32
    answer = ask(port, head + b"\r\nContent-Length: %d\r\n\r\n" % len(form) + form)
    assert (answer.status, answer.error["code"]) == (400, "invalid_request")


def test_a_broken_body_ends_a_page_as_well(port: int) -> None:
    answer = ask(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n")
    assert (answer.status, answer.error["code"]) == (400, "invalid_http_request")


def test_who_leaves_within_a_page_is_no_error_of_the_server(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(HEAD + b"Content-Length: 10\r\n\r\na")
    assert is_alive(port)


@pytest.mark.parametrize(
    ("status", "code"), [(405, "method_not_allowed"), (413, "invalid_request"), (500, "internal_error")]
)
async def test_what_django_says_in_plain_text_is_said_in_the_catalogues_words(status: int, code: str) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    told = InCatalogueForm({"method": "PUT", "path": "/a"}, send)
    headers = [(b"Content-Type", b"text/plain"), (b"Allow", b"GET, POST")]
    await told({"type": "http.response.start", "status": status, "headers": headers})
    await told({"type": "http.response.body", "body": b"Its own words"})
    start, body = sent
    assert json.loads(body["body"])["error"]["code"] == code
    assert dict(start["headers"]).get(b"allow") == (b"GET, POST" if status == 405 else None)
