"""Plain responses of a remote engine: under the served model's name, metered, otherwise unchanged."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.asgi_call import call_engine
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


def _call(
    operation: Operation, response: dict[str, Any], **fields: Any
) -> tuple[dict[str, Any], dict[str, Any], str, CallMeter]:
    """Return the worker's response, the remote engine's request and its path, and the meter."""
    requests: list[httpx.Request] = []
    meter = CallMeter(lambda: None)

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=response)

    async def run() -> tuple[int, bytes]:
        current_meter.set(meter)
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond), base_url="http://e") as client:
            engine = RemoteEngine(client, SETTINGS)
            assert engine.operations == (Operation.EMBEDDINGS, Operation.TOKENIZE)
            body = {"model": "ours", "cache_salt": "s", "priority": 3} | (fields or {"input": "hi"})
            return await call_engine(engine.app, operation, body, "1")

    status, body = asyncio.run(run())
    assert status == 200
    (request,) = requests
    return json.loads(body), json.loads(request.content), request.url.path, meter


def test_embeddings_carry_the_served_models_name_and_their_prompts_are_metered() -> None:
    vector = [0.1, -2.5e-08, 3.0]
    response = {
        "object": "list",
        "model": "theirs",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "usage": {"prompt_tokens": 11, "total_tokens": 11},
    }
    document, request, path, meter = _call(Operation.EMBEDDINGS, response)
    assert document == {**response, "model": "ours"}
    assert (request, path) == ({"model": "theirs", "input": "hi"}, "/v1/embeddings")
    assert (meter.reading().prompt_tokens, meter.reading().completion_tokens) == (11, 0)


def test_a_tokenizer_response_is_unchanged_and_not_metered() -> None:
    response = {"count": 1, "max_model_len": 64, "tokens": [5]}
    document, _, path, meter = _call(Operation.TOKENIZE, response)
    assert (document, path) == (response, "/tokenize")
    assert meter.reading().prompt_tokens == 0


@pytest.mark.criterion("6.1")
@pytest.mark.parametrize(("limit", "expected"), [({}, 16), ({"max_tokens": 3}, 3)])
def test_a_completion_without_a_limit_has_the_one_that_its_quota_reserved(
    limit: dict[str, int], expected: int
) -> None:
    response = {"model": "theirs", "choices": []}
    _, request, _, _ = _call(Operation.COMPLETIONS, response, prompt="hi", **limit)
    assert request == {"model": "theirs", "prompt": "hi", "max_tokens": expected}
    _, request, _, _ = _call(Operation.CHAT_COMPLETIONS, response, messages=[])
    assert "max_tokens" not in request


@pytest.mark.parametrize("wrong", ["", "chat", "embeddings,", "embeddings, tokenize"])
def test_unknown_operations_are_rejected_at_the_start(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected one or more of chat"):
        WorkerSettings(CYLLM_REDIS_URL="redis://unused", model="m", engine_operations=wrong)
