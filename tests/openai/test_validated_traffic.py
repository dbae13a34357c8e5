"""Answers of running stacks are validated, whichever client receives them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import httpx2
import pytest

from tests.patience import PATIENCE_S
from tests.recording_proxy import recording_proxy
from tests.validated_traffic import RECORDER, assert_valid

MODEL = {"id": "m", "object": "model", "created": 1, "owned_by": "us"}


def _answer(content_type: str, body: str, *, is_chunked: bool = False) -> bytes:
    length = "transfer-encoding: chunked" if is_chunked else f"content-length: {len(body)}"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{length}\r\n\r\n"
    return (head + (f"{len(body):x}\r\n{body}\r\n0\r\n\r\n" if is_chunked else body)).encode()


def _models(**fields: Any) -> bytes:
    return _answer("application/json", json.dumps({"object": "list", "data": [{**MODEL, **fields}]}))


@contextmanager
def _server(*answers: bytes) -> Iterator[str]:
    """Serve these answers on one connection, each after a request without a body."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for answer in answers:
                    while not connection.recv(65536).endswith(b"\r\n\r\n"):
                        pass
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def _get(address: str) -> None:
    httpx.get(f"{address}/v1/models", trust_env=False)


def _get2(address: str) -> None:
    httpx2.get(f"{address}/v1/models", trust_env=False)


def _get_async(address: str) -> None:
    async def get() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{address}/v1/models")

    asyncio.run(get())


@pytest.mark.parametrize("get", [_get, _get2, _get_async])
def test_undeclared_fields_are_faults_in_every_library(get: Any) -> None:
    with _server(_models(root="m", surprise=1)) as address:
        RECORDER.watch(address)
        get(address)
    with pytest.raises(AssertionError, match=r"undeclared fields: \['Model.surprise'\]"):
        assert_valid(RECORDER.take())


def test_servers_that_no_test_stack_runs_are_not_recorded() -> None:
    with _server(_models(surprise=1)) as address:
        _get(address)
    assert RECORDER.take() == []


def _ask_raw(address: str, count: int) -> bytes:
    parts = urlsplit(address)
    reply_bytes = b""
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE_S) as connection:
        for number in range(count):
            connection.sendall(f"GET /v1/models?n={number} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            while reply_bytes.count(b"HTTP/1.1 200") <= number or not reply_bytes.endswith(
                (b"}", b"\r\n\r\n")
            ):
                reply_bytes += connection.recv(65536)
    return reply_bytes


def test_the_proxy_changes_no_bytes_and_validates_every_answer_of_a_connection() -> None:
    error = "data: " + json.dumps({"error": {"message": "m", "type": "t", "param": None, "code": 5}}) + "\n\n"
    answers = (_models(), _models(surprise=1), _answer("text/event-stream", error, is_chunked=True))
    with (
        pytest.raises(AssertionError, match=r"2 of 3 answers are invalid(.|\n)+Model.surprise(.|\n)+code"),
        _server(*answers) as server,
        recording_proxy(server) as address,
    ):
        assert _ask_raw(address, 3) == b"".join(answers)


def _receive_all(address: str) -> None:
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE_S) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
        while connection.recv(65536):
            pass


def test_a_stream_is_validated_as_far_as_it_has_arrived() -> None:
    event = "data: " + json.dumps({"object": "chat.completion.chunk"}) + "\n\ndata: {"
    with (
        pytest.raises(AssertionError, match="1 of 1 answers are invalid"),
        _server(_answer("text/event-stream", event, is_chunked=True)[:-9]) as server,
        recording_proxy(server) as address,
    ):
        _receive_all(address)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (
            _answer("text/plain", json.dumps({"object": "list", "data": []})),
            "type 'text/plain' instead of JSON",
        ),
        (_answer("text/html", ""), "type 'text/html' instead of JSON"),
        (_answer("application/json", ""), "Expecting value"),
        (_answer("text/event-stream", 'data:{"surprise": 1}\n\n', is_chunked=True), "no line of an event"),
    ],
)
def test_an_answer_of_another_form_is_a_fault(answer: bytes, fault: str) -> None:
    with (
        pytest.raises(AssertionError, match=f"1 of 1 answers are invalid(.|\n)+{fault}"),
        _server(answer) as server,
        recording_proxy(server) as address,
    ):
        _receive_all(address)


def test_a_proxy_that_no_client_uses_is_a_fault() -> None:
    with (
        pytest.raises(AssertionError, match="no client has received an answer"),
        recording_proxy("http://127.0.0.1:9"),
    ):
        pass


def test_a_document_that_is_cut_off_is_not_judged() -> None:
    with _server(_models(surprise=1)[:-5]) as server, recording_proxy(server) as address:
        _receive_all(address)
