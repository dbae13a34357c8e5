"""Direct calls of vLLM's handlers have the responses of its HTTP application, and end when cancelled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vllm_programs import VllmPrograms

# vLLM's application with scripted handlers in place of an engine. Prints the responses of both ways.
PROGRAM = """
import asyncio, json, sys
from contextlib import suppress
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.entrypoints.openai.completion.protocol import CompletionResponse
from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse, UsageInfo
from vllm.exceptions import VLLMValidationError
from vllm.utils.argparse_utils import FlexibleArgumentParser
from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.asgi_call import engine_scope
from inference_worker.runtime.engines.vllm_handlers import DirectHandlers

ended = []


async def events(request_id):
    try:
        yield f"data: {request_id}\\n\\n"
        await asyncio.sleep(3600)
    finally:
        ended.append(request_id)


class Chats:
    async def create_chat_completion(self, request, raw_request):
        script = request.messages[0]["content"]
        if script == "refused":
            raise VLLMValidationError("not like this", parameter="messages")
        if script == "broken":
            raise RuntimeError("a secret")
        if script == "rejected":
            return ErrorResponse(error=ErrorInfo(message="no", type="NotFoundError", code=404))
        return events(raw_request.headers["x-request-id"])


class Completions:
    async def create_completion(self, request, raw_request):
        return CompletionResponse(model="m", choices=[], usage=UsageInfo(prompt_tokens=len(request.prompt)))


async def respond(app, operation, body, is_endless=False):
    has_data = asyncio.Event()
    messages, pending = [], [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive():
        return pending.pop() if pending else await asyncio.Event().wait()

    async def send(message):
        messages.append(message)
        if message.get("body"):
            has_data.set()

    call = asyncio.create_task(app(engine_scope(operation, "id-1"), receive, send))
    if is_endless:
        await has_data.wait()
        call.cancel()
    error = ""
    try:
        with suppress(asyncio.CancelledError):
            await call
    except RuntimeError as exception:
        error = type(exception).__name__
    status = next((message["status"] for message in messages if "status" in message), 0)
    return [status, b"".join(message.get("body", b"") for message in messages).decode(), error]


async def main():
    parse = make_arg_parser(FlexibleArgumentParser()).parse_args
    app = build_app(parse(["--disable-fastapi-docs"]), ("generate",), None)
    app.state.openai_serving_chat, app.state.openai_serving_completion = Chats(), Completions()
    direct = DirectHandlers(app)
    replies = {}
    for name in ("streamed", "refused", "broken", "rejected"):
        body = {"model": "m", "messages": [{"role": "user", "content": name}], "stream": True}
        chat = Operation.CHAT_COMPLETIONS
        replies[name] = [await respond(way, chat, body, name == "streamed") for way in (direct, app)]
        if name == "streamed":
            replies["ended"] = list(ended)
    for name, body in (("malformed", {"prompt": {"a": 1}}), ("plain", {"prompt": "abc"})):
        replies[name] = [await respond(way, Operation.COMPLETIONS, body) for way in (direct, app)]
    print(json.dumps(replies))


asyncio.run(main())
"""


@pytest.fixture(scope="module")
def replies(vllm_programs: VllmPrograms) -> dict[str, Any]:
    """Status, body and exception of both ways by script, and the streams that ended when cancelled."""
    return dict(json.loads(vllm_programs.run(PROGRAM).splitlines()[-1]))


def test_streams_and_refusals_are_those_of_vllms_application(replies: dict[str, Any]) -> None:
    for name, status in (("streamed", 200), ("refused", 400), ("rejected", 404), ("malformed", 400)):
        direct, app = replies[name]
        assert direct == app
        assert (direct[0], direct[2]) == (status, "")
    assert "not like this" in replies["refused"][0][1]
    assert '"param":"body.prompt' in replies["malformed"][0][1]


def test_a_plain_response_is_the_same_document(replies: dict[str, Any]) -> None:
    documents = [json.loads(body) for _, body, _ in replies["plain"]]
    for document in documents:
        del document["id"], document["created"]
    assert documents[0] == documents[1]
    assert documents[0]["usage"]["prompt_tokens"] == 3


def test_a_broken_engine_raises(replies: dict[str, Any]) -> None:
    assert replies["broken"][0] == [0, "", "RuntimeError"]


def test_a_cancelled_stream_ends_its_generator(replies: dict[str, Any]) -> None:
    assert "id-1" in replies["ended"]
