"""Embeddings and tokenizing at the gateway: wrong requests, models that can't, what the engine is given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from api.gateway.app import Gateway
from api.gateway.stages.limits import Limits
from inference_worker.protocol import faults
from inference_worker.protocol.messages import FailureKind, Operation, Outcome
from tests.gateway import bad_embeddings
from tests.gateway.conftest import QUICK, Keys
from tests.gateway.driver import Reply, call, visit
from tests.gateway.harness import eventually, with_limits
from tests.gateway.scripted import Pause, Script, ScriptedClient, accepted, failed, finished

BASES: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"model": "tiny", "input": "hello"},
    "/tokenize": {"model": "tiny", "prompt": "hello"},
    "/v1/tokenize": {"model": "tiny", "prompt": "hello"},
    "/detokenize": {"model": "tiny", "tokens": [1, 2]},
    "/v1/detokenize": {"model": "tiny", "tokens": [1, 2]},
    "/v1/chat/completions": {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]},
    "/v1/completions": {"model": "tiny", "prompt": "hello"},
}
ROWS = [("/v1/embeddings", bad) for bad in bad_embeddings.EMBEDDINGS]
ROWS += [("/tokenize", bad) for bad in bad_embeddings.TOKENIZE]
ROWS += [("/detokenize", bad) for bad in bad_embeddings.DETOKENIZE]
POOLING = (Operation.EMBEDDINGS, Operation.TOKENIZE, Operation.DETOKENIZE)
GENERATING = (Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS, Operation.TOKENIZE, Operation.DETOKENIZE)


@pytest.fixture
def limits() -> Limits:
    """Room for bodies whose texts are too long."""
    return QUICK.model_copy(
        update={
            "max_body_bytes": 2 * 1024 * 1024,
            "client_body_timeout_s": 5.0,
            "queue_timeout_s": 5.0,
            "first_token_timeout_s": 5.0,
            "total_timeout_s": 10.0,
        }
    )


async def ask(gateway: Gateway, keys: Keys, path: str, **changes: Any) -> Reply:
    body = {name: value for name, value in {**BASES[path], **changes}.items() if value is not ...}
    return await call(gateway, "POST", path, key=keys.acme, body=body)


@pytest.mark.criterion("1.7")
@pytest.mark.refuses(
    "embeddings",
    "truncate_prompt_tokens",
    "padding",
    "normalize",
    "use_activation",
    "embed_dtype",
    "priority",
)
@pytest.mark.refuses("tokenize", "chat_template", "tool_choice")
async def test_each_wrong_parameter_is_named_in_the_answer(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    wrong = []
    for path, bad in ROWS:
        reply = await ask(gateway, keys, path, **bad.changes)
        found = (reply.status, reply.error["type"], reply.error["code"], reply.error["param"])
        expected = (400, "invalid_request_error", bad.code, bad.param)
        if found != expected or bad.message not in reply.error["message"]:
            wrong.append((path, str(bad)[:200], found, reply.error["message"]))
    assert wrong == []
    assert len(ROWS) >= 50
    assert client.calls == [], "a wrong request reached a worker"


@pytest.mark.parametrize(
    ("path", "operations", "words"),
    [
        ("/v1/embeddings", GENERATING, ("not an embedding model", "v1/embeddings", "v1/chat/completions")),
        ("/v1/chat/completions", POOLING, ("not a chat model", "v1/chat/completions", "v1/embeddings")),
        ("/v1/completions", POOLING, ("not a completion model", "v1/completions", "tokenize")),
        ("/v1/embeddings", (), ("not an embedding model", "v1/chat/completions, v1/completions.")),
        ("/tokenize", (), ("tokenize", "v1/chat/completions")),
        ("/v1/detokenize", (), ("detokenize", "v1/completions")),
    ],
)
async def test_a_model_that_cannot_do_it_is_refused_before_a_worker_is_asked(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    ended: Callable[[], Any],
    path: str,
    operations: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    client.operations = operations
    reply = await ask(gateway, keys, path)
    error = reply.error
    assert (reply.status, error["code"], error["param"]) == (400, "unsupported_model", "model")
    assert all(word in error["message"] for word in words), error["message"]
    assert client.calls == []
    assert (await ended()).outcome == Outcome.REFUSED


async def test_older_workers_that_name_no_operation_chat_and_complete(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.operations = ()
    for path in ("/v1/chat/completions", "/v1/completions"):
        client.scripts = [[accepted(), finished(b"{}")]]
        assert (await ask(gateway, keys, path)).status == 200


async def test_without_a_ready_worker_it_is_a_matter_of_waiting(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.operations, client.serves = GENERATING, ()
    reply = await ask(gateway, keys, "/v1/embeddings")
    assert (reply.status, reply.error["code"]) == (503, "no_worker_available")


async def test_a_worker_that_has_just_become_ready_is_found_before_anything_is_refused(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    for serves, operations in (((), GENERATING), (("tiny",), GENERATING)):
        client.serves, client.operations, client.arriving = serves, operations, POOLING
        client.scripts = [[accepted(), finished(b"{}")]]
        assert (await ask(gateway, keys, "/v1/embeddings")).status == 200


async def test_when_redis_cannot_tell_of_a_worker_that_is_what_is_said(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.serves, client.unreachable = (), True
    reply = await ask(gateway, keys, "/v1/embeddings")
    assert (reply.status, reply.error["code"]) == (503, "redis_unavailable")


@pytest.mark.parametrize(
    ("path", "operation", "cost_tokens", "salted"),
    [
        ("/v1/embeddings", Operation.EMBEDDINGS, 8, True),
        ("/tokenize", Operation.TOKENIZE, 8, False),
        ("/v1/tokenize", Operation.TOKENIZE, 8, False),
        ("/detokenize", Operation.DETOKENIZE, 8, False),
        ("/v1/detokenize", Operation.DETOKENIZE, 8, False),
    ],
)
async def test_what_the_engine_is_given_and_the_client_gets(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    ended: Callable[[], Any],
    path: str,
    operation: Operation,
    cost_tokens: int,
    salted: bool,
) -> None:
    client.scripts = [[accepted(), finished(b'{"object":"list"}')]]
    reply = await ask(gateway, keys, path, model="default")
    assert (reply.status, reply.body) == (200, b'{"object":"list"}')
    (sent,) = client.calls
    body = json.loads(sent.body)
    assert (sent.operation, sent.model, sent.streamed) == (operation, "tiny", False)
    assert body.pop("model") == "tiny"
    assert ("cache_salt" in body) is salted
    assert 8 <= sent.cost_tokens <= 2 * cost_tokens
    record = await ended()
    assert (record.endpoint, record.status, record.model) == (path, 200, "tiny")


async def test_identifiers_of_users_stay_and_all_that_shapes_vectors_goes_on(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [[accepted(), finished(b"{}")]]
    asked = {
        "input": [[1, 2], [3]],
        "encoding_format": "base64",
        "dimensions": 64,
        "add_special_tokens": False,
    }
    await ask(gateway, keys, "/v1/embeddings", user="person-7", **asked)
    body = json.loads(client.calls[0].body)
    assert {name: body[name] for name in asked} == asked
    assert "user" not in body


@pytest.mark.parametrize(
    ("fault", "code", "param", "text"),
    [
        (
            faults.DimensionsUnsupported(),
            "unsupported_parameter",
            "dimensions",
            "the embeddings of this model have a fixed length",
        ),
        (
            faults.InvalidDimensions(dimensions=65, supported="in range [1, 64]"),
            "invalid_value",
            "dimensions",
            "this model supports dimensions in range [1, 64], not 65",
        ),
        (
            faults.UnknownTokenId(token_id=60000),
            "invalid_value",
            "input",
            "60000 is not a token id of this model",
        ),
    ],
)
async def test_a_fault_of_an_embedding_request_names_its_parameter(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    fault: faults.RequestFault,
    code: str,
    param: str,
    text: str,
) -> None:
    client.scripts = [[failed(FailureKind.REQUEST, 400, fault=fault)]]
    reply = await ask(gateway, keys, "/v1/embeddings", dimensions=8)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)
    assert text in reply.error["message"]


async def test_the_list_of_models_has_both_kinds_in_one_form(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    lists = []
    for operations in (GENERATING, POOLING, ()):
        client.operations = operations
        lists.append(json.loads((await call(gateway, "GET", "/v1/models", key=keys.acme)).body))
    assert lists[0] == lists[1] == lists[2]
    assert [model["id"] for model in lists[0]["data"]] == ["tiny"]


async def test_large_texts_of_a_tenant_take_turns_at_the_tokenizer_and_nobody_else_waits(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    quick: Script = [accepted(), finished(b"{}")]
    client.scripts = [[accepted(), Pause(0.4), finished(b"{}")], quick, quick, quick]
    large, small = {"model": "tiny", "prompt": "x" * 10_000}, {"model": "tiny", "prompt": "x"}
    first = visit(gateway, "POST", "/tokenize", key=keys.acme, body=large)
    await eventually(lambda: len(client.calls) == 1)
    waiting = visit(gateway, "POST", "/tokenize", key=keys.acme, body=large)
    leaving = visit(gateway, "POST", "/tokenize", key=keys.acme, body=large)
    assert (await call(gateway, "POST", "/tokenize", key=keys.globex, body=large)).status == 200
    assert (await call(gateway, "POST", "/tokenize", key=keys.acme, body=small)).status == 200
    assert not first.task.done()
    assert len(client.calls) == 3, "the second large one waits"
    leaving.leave()
    await asyncio.gather(first.task, waiting.task, leaving.task)
    assert (first.reply.status, waiting.reply.status) == (200, 200)
    assert len(client.calls) == 4, "who left in the queue was never asked for"


async def test_who_waits_too_long_for_a_turn_at_the_tokenizer_is_told(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    impatient = with_limits(gateway, queue_timeout_s=0.2)
    client.scripts = [[accepted(), Pause(0.6), finished(b"{}")], [accepted(), finished(b"{}")]]
    large = {"model": "tiny", "prompt": "x" * 10_000}
    first = visit(gateway, "POST", "/tokenize", key=keys.acme, body=large)
    await eventually(lambda: len(client.calls) == 1)
    late = await call(impatient, "POST", "/tokenize", key=keys.acme, body=large)
    assert (late.status, late.error["code"]) == (504, "queue_timeout")
    await first.task
    assert (await call(gateway, "POST", "/tokenize", key=keys.acme, body=large)).status == 200
    assert len(client.calls) == 2
