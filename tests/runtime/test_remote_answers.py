"""What a remote engine answers as a whole: renamed, counted, and passed on in its own form."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.engine_paths import ask
from inference_worker.runtime.calls.meter import CallMeter, current_meter
from inference_worker.runtime.engines.remote_engine import RemoteEngine
from inference_worker.runtime.settings import WorkerSettings

SETTINGS = WorkerSettings(
    CYLLM_REDIS_URL="redis://unused",
    model="ours",
    engine="remote",
    engine_url="http://e",
    engine_model="theirs",
    engine_operations="embeddings,tokenize",
)


def _ask(
    operation: Operation, answer: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], str, CallMeter]:
    """What came back, what the remote engine was sent and where, and the meter."""
    seen: list[httpx.Request] = []
    meter = CallMeter(lambda: None)

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=answer)

    async def run() -> tuple[int, bytes]:
        current_meter.set(meter)
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond), base_url="http://e") as client:
            engine = RemoteEngine(client, SETTINGS)
            assert engine.operations == (Operation.EMBEDDINGS, Operation.TOKENIZE)
            return await ask(engine.app, operation, {"model": "ours", "input": "hi", "cache_salt": "s"}, "1")

    status, body = asyncio.run(run())
    assert status == 200
    (request,) = seen
    return json.loads(body), json.loads(request.content), request.url.path, meter


def test_embeddings_come_back_under_our_name_and_their_prompts_are_counted() -> None:
    vector = [0.1, -2.5e-08, 3.0]
    answer = {
        "object": "list",
        "model": "theirs",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "usage": {"prompt_tokens": 11, "total_tokens": 11},
    }
    given, sent, path, meter = _ask(Operation.EMBEDDINGS, answer)
    assert given == {**answer, "model": "ours"}
    assert (sent, path) == ({"model": "theirs", "input": "hi"}, "/v1/embeddings")
    assert (meter.reading().prompt_tokens, meter.reading().completion_tokens) == (11, 0)


def test_a_tokenizer_answers_in_its_own_form_and_uses_nothing() -> None:
    answer = {"count": 1, "max_model_len": 64, "tokens": [5]}
    given, _, path, meter = _ask(Operation.TOKENIZE, answer)
    assert (given, path) == (answer, "/tokenize")
    assert meter.reading().prompt_tokens == 0


@pytest.mark.parametrize("wrong", ["", "chat", "embeddings,", "embeddings, tokenize"])
def test_operations_that_do_not_exist_are_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected one or more of chat"):
        WorkerSettings(CYLLM_REDIS_URL="redis://unused", model="m", engine_operations=wrong)
