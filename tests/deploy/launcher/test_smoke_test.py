"""The launcher's client against scripted gateways."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from deploy.local.demo.smoke_test import SmokeTestError, ask, fetch_status
from tests.ports import reserved_port


class _Scripted(BaseHTTPRequestHandler):
    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""
    requests: ClassVar[list[dict[str, object]]] = []

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        self.end_headers()

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).requests.append(
            {"path": self.path, "authorization": self.headers["Authorization"], **call}
        )
        self.send_response(type(self).status)
        self.end_headers()
        self.wfile.write(type(self).body)

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def gateway() -> Iterator[str]:
    """A server that responds as the test configured ``_Scripted``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Scripted) as server:
        _Scripted.requests.clear()
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _events(*events: dict[str, object]) -> bytes:
    lines = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events)
    return f": a comment\n\n{lines}data: [DONE]\n\n".encode()


def _delta(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def test_a_streamed_completion_is_assembled_with_its_token_count(gateway: str) -> None:
    _Scripted.status = 200
    role: dict[str, object] = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    usage: dict[str, object] = {"choices": [], "usage": {"completion_tokens": 2}}
    _Scripted.body = _events(role, _delta("Par"), _delta("is 巴黎"), usage)
    completion = ask(f"{gateway}/v1", key="sk-test", model="some-model")
    assert (completion.text, completion.tokens) == ("Paris 巴黎", 2)
    assert 0 < completion.first_token_s <= completion.total_s
    assert _Scripted.requests[0]["path"] == "/v1/chat/completions"
    assert _Scripted.requests[0]["authorization"] == "Bearer sk-test"
    assert _Scripted.requests[0]["model"] == "some-model"


def test_reasoning_counts_as_text(gateway: str) -> None:
    _Scripted.status = 200
    reasoning: dict[str, object] = {"choices": [{"index": 0, "delta": {"reasoning": "Hm."}}]}
    _Scripted.body = _events(reasoning, {"choices": [], "usage": {"completion_tokens": 1}})
    assert ask(f"{gateway}/v1", key="sk-test", model="some-model").text == "Hm."


def test_an_error_response_is_reported_with_status_and_body(gateway: str) -> None:
    _Scripted.status, _Scripted.body = 503, b'{"error": {"message": "no worker"}}'
    with pytest.raises(SmokeTestError, match=r"HTTP 503.*no worker"):
        ask(f"{gateway}/v1", key="sk-test", model="some-model")
    assert fetch_status(f"{gateway}/health/ready") == 503


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (_events(_delta("Par"), {"error": {"code": "engine_failed"}}), "engine_failed"),
        (_events({"choices": []}), "the response was empty"),
        (b"data: {broken\n\n", "was interrupted"),
    ],
)
def test_a_broken_stream_is_an_error(gateway: str, body: bytes, text: str) -> None:
    _Scripted.status, _Scripted.body = 200, body
    with pytest.raises(SmokeTestError, match=text):
        ask(f"{gateway}/v1", key="sk-test", model="some-model")


def test_a_missing_server_differs_from_an_error_response() -> None:
    url = f"http://127.0.0.1:{reserved_port()}"
    assert fetch_status(f"{url}/health/live") == 0
    with pytest.raises(SmokeTestError, match="was interrupted"):
        ask(f"{url}/v1", key="sk-test", model="some-model")
