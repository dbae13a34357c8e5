"""The launcher's own client: what it makes of what a gateway may say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from deploy.local.demo.smoke_test import SmokeTestError, ask, status_of
from deploy.local.servers.ports import free_port


class _Scripted(BaseHTTPRequestHandler):
    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""
    seen: ClassVar[list[dict[str, object]]] = []

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        self.end_headers()

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).seen.append({"path": self.path, "authorization": self.headers["Authorization"], **call})
        self.send_response(type(self).status)
        self.end_headers()
        self.wfile.write(type(self).body)

    def log_message(self, *args: object) -> None:
        """Not on the test's output."""


@pytest.fixture
def gateway() -> Iterator[str]:
    """A server that says what the test has put into ``_Scripted``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Scripted) as server:
        _Scripted.seen.clear()
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


def test_a_streamed_answer_is_put_together_with_its_count(gateway: str) -> None:
    _Scripted.status = 200
    role: dict[str, object] = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    usage: dict[str, object] = {"choices": [], "usage": {"completion_tokens": 2}}
    _Scripted.body = _events(role, _delta("Par"), _delta("is 巴黎"), usage)
    answer = ask(f"{gateway}/v1", key="sk-test", model="some-model")
    assert (answer.text, answer.completion_tokens) == ("Paris 巴黎", 2)
    assert 0 < answer.first_token_s <= answer.total_s
    assert _Scripted.seen[0]["path"] == "/v1/chat/completions"
    assert _Scripted.seen[0]["authorization"] == "Bearer sk-test"
    assert _Scripted.seen[0]["model"] == "some-model"


def test_what_a_model_reasons_is_an_answer_too(gateway: str) -> None:
    _Scripted.status = 200
    thought: dict[str, object] = {"choices": [{"index": 0, "delta": {"reasoning": "Hm."}}]}
    _Scripted.body = _events(thought, {"choices": [], "usage": {"completion_tokens": 1}})
    assert ask(f"{gateway}/v1", key="sk-test", model="some-model").text == "Hm."


def test_a_refusal_is_told_with_status_and_words(gateway: str) -> None:
    _Scripted.status, _Scripted.body = 503, b'{"error": {"message": "no worker"}}'
    with pytest.raises(SmokeTestError, match=r"HTTP 503.*no worker"):
        ask(f"{gateway}/v1", key="sk-test", model="some-model")
    assert status_of(f"{gateway}/health/ready") == 503


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (_events(_delta("Par"), {"error": {"code": "engine_failed"}}), "engine_failed"),
        (_events({"choices": []}), "the answer was empty"),
        (b"data: {broken\n\n", "broke off"),
    ],
)
def test_a_stream_that_goes_wrong_is_an_error(gateway: str, body: bytes, words: str) -> None:
    _Scripted.status, _Scripted.body = 200, body
    with pytest.raises(SmokeTestError, match=words):
        ask(f"{gateway}/v1", key="sk-test", model="some-model")


def test_nobody_there_is_told_apart_from_an_answer() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert status_of(f"{url}/health/live") == 0
    with pytest.raises(SmokeTestError, match="broke off"):
        ask(f"{url}/v1", key="sk-test", model="some-model")
