"""Input tokens are counted without generating, and the paths beside response ids have names of their own."""

from __future__ import annotations

import json

import pytest

from api.gateway.app import Gateway
from inference_worker.protocol.messages import FailureKind, Operation
from tests.gateway.conftest import Keys
from tests.gateway.harness.calls import RESPONSES, create_response, retrieve
from tests.gateway.harness.driver import Reply, call
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import accepted, body_script, failed, response_script

INPUT_TOKENS = f"{RESPONSES}/input_tokens"
TOKENS = json.dumps({"count": 3, "max_model_len": 4096, "tokens": [5, 6, 7]}).encode()
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


async def count(gateway: Gateway, key: str, **body: object) -> Reply:
    return await call(gateway, "POST", INPUT_TOKENS, key=key, body={"model": "tiny", **body})


@pytest.mark.case("clients.19")
async def test_the_worker_counts_the_prompt_that_a_response_would_have(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script(), body_script(TOKENS)]
    first = (await create_response(gateway, keys.acme, tools=[TOOL])).document
    reply = await count(
        gateway,
        keys.acme,
        input="and now?",
        instructions="be brief",
        tools=[TOOL],
        reasoning={"effort": "none"},
        previous_response_id=first["id"],
    )
    assert (reply.status, reply.document) == (200, {"object": "response.input_tokens", "input_tokens": 3})
    chat, tokenize = (json.loads(engine_call.body) for engine_call in client.calls)
    assert client.calls[1].operation == Operation.TOKENIZE
    assert tokenize["tools"] == chat["tools"]
    assert [message["role"] for message in tokenize["messages"]] == ["system", "user", "assistant", "user"]
    assert tokenize["chat_template_kwargs"] == {"enable_thinking": False, "reasoning_effort": "none"}
    assert tokenize.keys() == {"model", "messages", "tools", "chat_template_kwargs"}


@pytest.mark.case("clients.19")
async def test_a_prompt_that_can_not_be_counted_is_an_error_by_name(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    unknown = await count(gateway, keys.acme, input="a", previous_response_id="resp_0")
    assert (unknown.status, unknown.error["code"]) == (400, "previous_response_not_found")
    invalid = await count(gateway, keys.acme, input="a", temperature=-1)
    assert (invalid.status, invalid.error["param"]) == (400, "temperature")
    client.scripts = [body_script(b"[]"), [accepted(), failed(FailureKind.ENGINE, 500)]]
    for _ in range(2):
        assert (await count(gateway, keys.acme, input="a")).error["code"] == "engine_error"
    client.operations = (Operation.CHAT_COMPLETIONS,)
    refusal = await count(gateway, keys.acme, input="a")
    assert (refusal.status, refusal.error["param"]) == (400, "model")


@pytest.mark.case("clients.19")
@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_the_path_is_not_taken_for_an_id(gateway: Gateway, keys: Keys, method: str) -> None:
    reply = await call(gateway, method, INPUT_TOKENS, key=keys.acme)
    assert (reply.status, reply.error["code"], reply.headers["allow"]) == (
        *(405, "method_not_allowed"),
        "OPTIONS, POST",
    )


@pytest.mark.case("clients.19")
@pytest.mark.parametrize(
    "query",
    [
        "?include[]=message.output_text.logprobs&include[]=reasoning.encrypted_content",
        "?include=message.output_text.logprobs&include=file_search_call.results",
        "?include%5B0%5D=message.output_text.logprobs",
        "?stream=false&include_obfuscation=true",
    ],
)
async def test_what_a_client_asks_to_include_is_accepted_as_the_response_has_it(
    gateway: Gateway, keys: Keys, client: ScriptedClient, query: str
) -> None:
    client.scripts = [response_script()]
    response = (await create_response(gateway, keys.acme)).document
    retrieval = await retrieve(gateway, keys.acme, response["id"], query)
    assert (retrieval.status, retrieval.document) == (200, response)


@pytest.mark.case("clients.19")
async def test_a_page_of_input_items_has_a_size_an_order_a_start_and_inclusions(
    gateway: Gateway, keys: Keys, client: ScriptedClient
) -> None:
    client.scripts = [response_script()]
    texts = [{"role": "user", "content": text} for text in "abc"]
    response = (await create_response(gateway, keys.acme, input=texts)).document

    async def page(query: str) -> tuple[list[str], str, bool]:
        reply = await retrieve(gateway, keys.acme, response["id"], f"/input_items?{query}")
        assert reply.status == 200
        data = reply.document["data"]
        return (
            [item["content"][0]["text"] for item in data],
            reply.document["last_id"],
            reply.document["has_more"],
        )

    inclusion = "include[]=message.input_image.image_url"
    items, last_id, has_more = await page(f"limit=2&order=asc&{inclusion}")
    assert (items, has_more) == (["a", "b"], True)
    assert (await page(f"limit=2&order=asc&after={last_id}"))[::2] == (["c"], False)
    assert (await page(""))[0] == ["c", "b", "a"]
