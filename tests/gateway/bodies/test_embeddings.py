"""Embeddings, tokenize and detokenize: bad requests, models without the operation, the engine's calls."""

from __future__ import annotations

import asyncio
import json

import pytest

from api.gateway.app import Gateway
from inference_worker.protocol import faults
from inference_worker.protocol.messages import FailureKind, Operation, Outcome
from tests.gateway.bodies.bad_embeddings import BAD_REQUESTS
from tests.gateway.bodies.bad_requests import mismatches
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import CHAT, COMPLETIONS, EMBEDDINGS, post, start_post
from tests.gateway.harness.conditions import eventually
from tests.gateway.harness.driver import call
from tests.gateway.harness.gateways import with_limits
from tests.gateway.harness.records import RecordReader
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import accepted, body_script, failed, finished, valid_document

LARGE_TEXT = "x" * 10_000
POOLING = (Operation.EMBEDDINGS, Operation.TOKENIZE, Operation.DETOKENIZE)
GENERATING = (Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS, Operation.TOKENIZE, Operation.DETOKENIZE)


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
async def test_each_invalid_parameter_is_named_in_the_error(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    assert await mismatches(gateway, keys.acme, BAD_REQUESTS) == []
    assert len(BAD_REQUESTS) >= 50
    assert client.calls == [], "a bad request reached a worker"


@pytest.mark.parametrize(
    ("path", "operations", "parts"),
    [
        (EMBEDDINGS, GENERATING, ("does not support v1/embeddings", "v1/chat/completions")),
        (CHAT, POOLING, ("does not support v1/chat/completions", "v1/embeddings")),
        (COMPLETIONS, POOLING, ("does not support v1/completions", "tokenize")),
        (EMBEDDINGS, (), ("does not support v1/embeddings", "v1/chat/completions, v1/completions.")),
        ("/tokenize", (), ("tokenize", "v1/chat/completions")),
        ("/v1/detokenize", (), ("detokenize", "v1/completions")),
    ],
)
async def test_a_model_without_the_operation_is_rejected_before_dispatch(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    settled_record: RecordReader,
    path: str,
    operations: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    client.operations = operations
    reply = await post(gateway, keys.acme, path)
    error = reply.error
    assert (reply.status, error["code"], error["param"]) == (400, "unsupported_model", "model")
    assert all(part in error["message"] for part in parts), error["message"]
    assert client.calls == []
    assert (await settled_record()).outcome == Outcome.REFUSED


async def test_older_workers_that_announce_no_operations_chat_and_complete(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.operations = ()
    for path in (CHAT, COMPLETIONS):
        client.scripts = [body_script()]
        assert (await post(gateway, keys.acme, path)).status == 200


async def test_without_a_ready_worker_a_request_can_be_retried(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.operations, client.models = GENERATING, ()
    reply = await post(gateway, keys.acme, EMBEDDINGS)
    assert (reply.status, reply.error["code"]) == (503, "no_worker_available")


async def test_a_worker_that_has_just_become_ready_is_used(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    for models in ((), ("tiny",)):
        client.models, client.operations, client.next_operations = models, GENERATING, POOLING
        client.scripts = [body_script()]
        assert (await post(gateway, keys.acme, EMBEDDINGS)).status == 200


async def test_an_unreachable_redis_is_reported_instead_of_a_missing_worker(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.models, client.is_unreachable = (), True
    reply = await post(gateway, keys.acme, EMBEDDINGS)
    assert (reply.status, reply.error["code"]) == (503, "redis_unavailable")


@pytest.mark.parametrize(
    ("path", "operation", "cost_tokens", "has_salt"),
    [
        (EMBEDDINGS, Operation.EMBEDDINGS, 8, True),
        ("/tokenize", Operation.TOKENIZE, 8, False),
        ("/v1/tokenize", Operation.TOKENIZE, 8, False),
        ("/detokenize", Operation.DETOKENIZE, 8, False),
        ("/v1/detokenize", Operation.DETOKENIZE, 8, False),
    ],
)
async def test_the_engine_receives_the_request_and_the_client_its_body(
    gateway: Gateway,
    keys: Keys,
    client: ScriptedClient,
    settled_record: RecordReader,
    path: str,
    operation: Operation,
    cost_tokens: int,
    has_salt: bool,
) -> None:
    client.scripts = [[accepted(), finished(valid_document(operation))]]
    reply = await post(gateway, keys.acme, path, model="default")
    assert (reply.status, reply.body) == (200, valid_document(operation))
    (engine_call,) = client.calls
    body = json.loads(engine_call.body)
    assert (engine_call.operation, engine_call.model, engine_call.streamed) == (operation, "tiny", False)
    assert body.pop("model") == "tiny"
    assert ("cache_salt" in body) is has_salt
    assert 8 <= engine_call.cost_tokens <= 2 * cost_tokens
    record = await settled_record()
    assert (record.endpoint, record.status, record.model) == (path, 200, "tiny")


async def test_the_engine_receives_the_parameters_that_shape_vectors_but_no_user_id(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [body_script()]
    parameters = {
        "input": [[1, 2], [3]],
        "encoding_format": "base64",
        "dimensions": 64,
        "add_special_tokens": False,
    }
    await post(gateway, keys.acme, EMBEDDINGS, user="person-7", **parameters)
    body = json.loads(client.calls[0].body)
    assert {name: body[name] for name in parameters} == parameters
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
    reply = await post(gateway, keys.acme, EMBEDDINGS, dimensions=8)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)
    assert text in reply.error["message"]


async def test_generative_and_embedding_models_look_the_same_in_the_model_list(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    documents = []
    for operations in (GENERATING, POOLING, ()):
        client.operations = operations
        documents.append((await call(gateway, "GET", "/v1/models", key=keys.acme)).document)
    assert documents[0] == documents[1] == documents[2]
    assert [model["id"] for model in documents[0]["data"]] == ["tiny"]


async def test_large_texts_of_a_tenant_take_turns_at_the_tokenizer_and_delay_no_other_request(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    release = asyncio.Event()
    client.scripts = [body_script(until=release), body_script(), body_script(), body_script()]
    running = start_post(gateway, keys.acme, "/tokenize", prompt=LARGE_TEXT)
    await eventually(lambda: len(client.calls) == 1)
    waiting_call = start_post(gateway, keys.acme, "/tokenize", prompt=LARGE_TEXT)
    broken_call = start_post(gateway, keys.acme, "/tokenize", prompt=LARGE_TEXT)
    assert (await post(gateway, keys.globex, "/tokenize", prompt=LARGE_TEXT)).status == 200
    assert (await post(gateway, keys.acme, "/tokenize", prompt="x")).status == 200
    assert not running.task.done()
    assert len(client.calls) == 3, "the tenant's second large text has to wait"
    broken_call.disconnect()
    release.set()
    await asyncio.gather(running.finish(), waiting_call.finish(), broken_call.finish())
    assert (running.reply.status, waiting_call.reply.status) == (200, 200)
    assert len(client.calls) == 4, "a request whose client had disconnected was dispatched"


async def test_a_long_wait_for_the_tokenizer_is_a_queue_timeout(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    impatient_gateway = with_limits(gateway, queue_timeout_s=0.2)
    release = asyncio.Event()
    client.scripts = [body_script(until=release), body_script()]
    running = start_post(gateway, keys.acme, "/tokenize", prompt=LARGE_TEXT)
    await eventually(lambda: len(client.calls) == 1)
    late = await post(impatient_gateway, keys.acme, "/tokenize", prompt=LARGE_TEXT)
    assert (late.status, late.error["code"]) == (504, "queue_timeout")
    release.set()
    await running.finish()
    assert (await post(gateway, keys.acme, "/tokenize", prompt=LARGE_TEXT)).status == 200
    assert len(client.calls) == 2
