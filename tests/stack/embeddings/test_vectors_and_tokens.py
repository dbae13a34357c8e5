"""An embedding model and a chat model in one stack: vectors, token counts, and the endpoints of each."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from openai.types import CreateEmbeddingResponse

from api.openai.schemas.response_bodies.resources import EmbeddingList
from tests.embedder import CONTEXT, SHORT
from tests.openapi_validation import answer_faults, request_is_wrong
from tests.stack.conftest import OwnedStack
from tests.stack.records import audit_row, settled_usage

TEXTS = ["The sea is calm.", "海は静かだ。", "Ça va 😀?", "x"]
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好 🙂"}]


@pytest.fixture(scope="module")
def tokenizer(thinking_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(thinking_model)


def _expected(model: Path, prompts: Sequence[list[int]]) -> np.ndarray[Any, Any]:
    """Return embeddings by transformers: the last token's state after the final norm, at length 1."""
    import torch
    from transformers import AutoModel

    network = AutoModel.from_pretrained(model).eval()
    with torch.inference_mode():
        states = [network(torch.tensor([prompt])).last_hidden_state[0, -1] for prompt in prompts]
    return np.stack([(state / state.norm()).numpy() for state in states])


def _vectors(answer: CreateEmbeddingResponse) -> np.ndarray[Any, Any]:
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    return np.array([item.embedding for item in answer.data], dtype=np.float32)


def _same(vectors: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> bool:
    """Return whether the vectors are equal. All have length 1, so their product is the cosine."""
    assert vectors.shape == others.shape
    return bool((np.sum(vectors * others, axis=1) > 0.9999).all()) and np.allclose(vectors, others, atol=1e-4)


@pytest.mark.honours("embeddings", "input", "model", "encoding_format")
def test_texts_and_token_ids_have_the_vectors_of_the_model(
    client: openai.OpenAI, embedder: str, thinking_model: Path, tokenizer: Any
) -> None:
    prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
    expected = _expected(thinking_model, prompts)
    several = client.embeddings.create(model=embedder, input=TEXTS, encoding_format="float")
    assert _same(_vectors(several), expected)
    assert several.usage.prompt_tokens == several.usage.total_tokens == sum(map(len, prompts))
    # Without encoding_format the SDK asks for base64 and decodes it.
    assert _same(_vectors(client.embeddings.create(model=embedder, input=TEXTS[1])), expected[1:2])
    assert _same(_vectors(client.embeddings.create(model=embedder, input=prompts[2])), expected[2:3])
    assert _same(_vectors(client.embeddings.create(model=embedder, input=prompts)), expected)


def test_responses_match_the_openapi_document_exactly(ready_stack: OwnedStack, embedder: str) -> None:
    with ready_stack.client() as client:
        for fields in ({}, {"encoding_format": "base64"}, {"input": TEXTS}, {"input": [[5, 6], [7]]}):
            body = {"model": embedder, "input": "hello", **fields}
            assert not request_is_wrong("/v1/embeddings", body)
            answer = client.post("/v1/embeddings", json=body)
            faults = answer_faults("POST", "/v1/embeddings", 200, answer.headers, answer.content)
            assert (answer.status_code, faults) == (200, [])
            EmbeddingList.model_validate_json(answer.content)


@pytest.mark.criterion("1.4")
def test_responses_have_the_sdks_type_and_base64_encodes_the_same_floats(
    ready_stack: OwnedStack, embedder: str
) -> None:
    answers = {}
    with ready_stack.client() as client:
        for encoding in ("float", "base64"):
            body = {"model": embedder, "input": TEXTS, "encoding_format": encoding}
            reply = client.post("/v1/embeddings", json=body)
            assert reply.status_code == 200, reply.text
            answers[encoding] = reply.json()
    typed_response = CreateEmbeddingResponse.model_validate_json(json.dumps(answers["float"]), strict=True)
    assert (typed_response.object, typed_response.model, typed_response.data[0].object) == (
        "list",
        embedder,
        "embedding",
    )
    for plain, encoded_item in zip(answers["float"]["data"], answers["base64"]["data"], strict=True):
        floats = np.frombuffer(base64.b64decode(encoded_item["embedding"]), dtype="<f4")
        assert floats.tolist() == pytest.approx(plain["embedding"], abs=1e-6)
        assert len(floats) == 64


@pytest.mark.criterion("5.2")
@pytest.mark.honours("embeddings", "user")
def test_an_embedding_has_one_usage_record_with_its_prompt_tokens(
    ready_stack: OwnedStack, embedder: str, tokenizer: Any
) -> None:
    with ready_stack.client() as client:
        reply = client.post("/v1/embeddings", json={"model": embedder, "input": TEXTS, "user": "person-7"})
    request_id = reply.headers["x-request-id"]
    usage = settled_usage(ready_stack, request_id)
    tokens = sum(len(tokenizer(text)["input_ids"]) for text in TEXTS)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (tokens, 0)
    assert reply.json()["usage"]["prompt_tokens"] == tokens
    audit = audit_row(ready_stack, request_id)
    assert (audit["endpoint"], audit["model"], audit["outcome"]) == ("/v1/embeddings", embedder, "completed")


def test_each_model_rejects_the_endpoints_of_the_other(ready_stack: OwnedStack, embedder: str) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    with ready_stack.client() as client:
        for path, body, able, unable in (
            ("/v1/embeddings", {"input": "hi"}, embedder, ready_stack.model),
            ("/v1/chat/completions", chat, ready_stack.model, embedder),
            ("/v1/completions", {"prompt": "hi", "max_tokens": 1}, ready_stack.model, embedder),
        ):
            assert client.post(path, json={"model": able, **body}).status_code == 200
            response = client.post(path, json={"model": unable, **body})
            error = response.json()["error"]
            assert (response.status_code, error["code"], error["param"]) == (
                400,
                "unsupported_model",
                "model",
            )
        names = {model["id"] for model in client.get("/v1/models").json()["data"]}
        assert {embedder, ready_stack.model} <= names


@pytest.mark.honours("embeddings", "add_special_tokens")
def test_special_tokens_are_left_out_on_request(
    client: openai.OpenAI, embedder: str, thinking_model: Path, tokenizer: Any
) -> None:
    bare = tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    answer = client.embeddings.create(
        model=embedder, input=TEXTS[0], extra_body={"add_special_tokens": False}
    )
    assert answer.usage.prompt_tokens == len(bare) == len(tokenizer(TEXTS[0])["input_ids"]) - 1
    assert _same(_vectors(answer), _expected(thinking_model, [bare]))


@pytest.mark.honours("embeddings", "dimensions")
def test_a_shorter_vector_is_the_normalised_beginning_of_the_full_one(
    client: openai.OpenAI, embedder: str
) -> None:
    whole = _vectors(client.embeddings.create(model=embedder, input=TEXTS[0]))[:, :SHORT]
    short = _vectors(client.embeddings.create(model=embedder, input=TEXTS[0], dimensions=SHORT))
    assert _same(short, whole / np.linalg.norm(whole))


@pytest.mark.refuses("embeddings", "dimensions")
def test_dimensions_that_the_model_does_not_support_are_rejected_by_name(
    client: openai.OpenAI, embedder: str
) -> None:
    with pytest.raises(openai.BadRequestError) as excinfo:
        client.embeddings.create(model=embedder, input="hi", dimensions=8)
    assert excinfo.value.param == "dimensions"
    assert excinfo.value.code in ("unsupported_parameter", "invalid_value")
    with pytest.raises(openai.BadRequestError) as excinfo:
        client.embeddings.create(model=embedder, input=[60_000])
    assert (excinfo.value.code, excinfo.value.param) == ("invalid_value", "input")


@pytest.mark.case("serving.32")
def test_an_error_for_a_long_input_has_its_length_in_every_form(
    client: openai.OpenAI, embedder: str, tokenizer: Any
) -> None:
    fits, long = "the" + " the" * (CONTEXT - 2), "the" + " the" * (CONTEXT - 1)
    ids = tokenizer(long)["input_ids"]
    assert len(ids) == CONTEXT + 1
    for value in (fits, ids[1:]):
        assert client.embeddings.create(model=embedder, input=value).usage.prompt_tokens == CONTEXT
    messages = set()
    for value in (long, ["short", long], ids, [ids[:3], ids]):
        with pytest.raises(openai.BadRequestError) as excinfo:
            client.embeddings.create(model=embedder, input=value)
        assert (excinfo.value.code, excinfo.value.param) == ("context_length_exceeded", "input")
        messages.add(excinfo.value.message)
    (message,) = messages
    assert "maximum context length is 256 tokens. However, your input resulted in 257 tokens." in message


@pytest.mark.honours("tokenize", "prompt", "model", "add_special_tokens", "return_token_strs")
@pytest.mark.honours("detokenize", "tokens", "model")
@pytest.mark.parametrize("text", [*TEXTS, "  two  spaces\n\ttab", "<|im_start|>user", "👩‍👩‍👧‍👦 Straße", ""])
def test_tokens_are_those_of_transformers_and_decode_to_the_text(
    ready_stack: OwnedStack, embedder: str, tokenizer: Any, text: str
) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with ready_stack.client() as client:
        whole = client.post("/tokenize", json={"model": embedder, "prompt": text}).json()
        assert whole["tokens"] == [tokenizer.bos_token_id, *ids]
        for model, path in ((embedder, "/tokenize"), (ready_stack.model, "/v1/tokenize")):
            body = {"model": model, "prompt": text, "return_token_strs": True, "add_special_tokens": False}
            value = client.post(path, json=body).json()
            assert (value["tokens"], value["count"]) == (ids, len(ids))
            assert value["token_strs"] == tokenizer.convert_ids_to_tokens(ids)
        back = client.post("/detokenize", json={"model": embedder, "tokens": ids}).json()
        again = client.post("/v1/detokenize", json={"model": ready_stack.model, "tokens": ids}).json()
    assert back == again == {"prompt": text}


@pytest.mark.honours(
    "tokenize", "messages", "add_generation_prompt", "continue_final_message", "chat_template_kwargs", "tools"
)
def test_messages_are_tokenized_through_the_chat_template(ready_stack: OwnedStack, tokenizer: Any) -> None:
    def template_ids(**options: Any) -> list[int]:
        encoding = tokenizer.apply_chat_template(MESSAGES, tokenize=True, return_dict=True, **options)
        return list(encoding["input_ids"])

    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({}, template_ids(add_generation_prompt=True)),
        ({"add_generation_prompt": False}, template_ids(add_generation_prompt=False)),
        (
            {"add_generation_prompt": False, "continue_final_message": True},
            template_ids(continue_final_message=True),
        ),
        ({"chat_template_kwargs": {"enable_thinking": False}}, template_ids(add_generation_prompt=True)),
        ({"tools": [tool]}, template_ids(add_generation_prompt=True, tools=[tool])),
    ]
    with ready_stack.client() as client:
        for changes, tokens in cases:
            body = {"model": ready_stack.model, "messages": MESSAGES, **changes}
            assert client.post("/tokenize", json=body).json()["tokens"] == tokens, changes
        refusal = client.post(
            "/v1/chat/completions", json={"model": ready_stack.model, "messages": MESSAGES, "max_tokens": 1}
        )
    assert refusal.json()["usage"]["prompt_tokens"] == len(cases[0][1])


def test_tokenizing_is_recorded_and_costs_nothing(ready_stack: OwnedStack) -> None:
    with ready_stack.client() as client:
        reply = client.post("/v1/tokenize", json={"model": ready_stack.model, "prompt": "hello"})
    request_id = reply.headers["x-request-id"]
    usage = settled_usage(ready_stack, request_id)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (0, 0)
    assert audit_row(ready_stack, request_id)["endpoint"] == "/v1/tokenize"
