"""The official, unmodified SDK for Python."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import openai
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from tests.patience import PATIENCE_S
from tests.promises import assert_within, measured_again
from tests.stacks import RunningStack

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
ANSWER = "The capital of France is Paris."


@pytest.mark.criterion("1.1")
@pytest.mark.criterion("1.4")
def test_chat_returns_the_sdks_type(client: openai.OpenAI, stack: RunningStack) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=stack.model, messages=QUESTION, temperature=0, max_tokens=16
    )
    answer = raw.parse()
    ChatCompletion.model_validate_json(raw.text, strict=True)
    assert raw.headers["x-request-id"].startswith("req_")
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == stack.model
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.criterion("1.3")
def test_a_chat_stream_has_the_whole_text_and_its_usage_at_the_end(
    client: openai.OpenAI, stack: RunningStack
) -> None:
    stream = client.chat.completions.create(
        model=stack.model,
        messages=QUESTION,
        temperature=0,
        max_tokens=16,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 5
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


@pytest.mark.criterion("1.2")
@pytest.mark.criterion("1.4")
def test_a_completion_and_its_stream_are_the_same_text(client: openai.OpenAI, stack: RunningStack) -> None:
    raw = client.completions.with_raw_response.create(
        model=stack.model, prompt="The sea is", temperature=0, max_tokens=16
    )
    Completion.model_validate_json(raw.text, strict=True)
    plain = raw.parse().choices[0].text
    stream = client.completions.create(
        model=stack.model, prompt="The sea is", temperature=0, max_tokens=16, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == plain
    assert len(plain) > 10


@pytest.mark.criterion("1.2")
def test_a_completion_takes_a_list_of_prompts_and_token_ids(
    client: openai.OpenAI, stack: RunningStack
) -> None:
    several = client.completions.create(
        model=stack.model, prompt=["The sea is", "One, two,"], temperature=0, max_tokens=8
    )
    assert [choice.index for choice in several.choices] == [0, 1]
    assert several.choices[0].text != several.choices[1].text
    ids = client.completions.create(model=stack.model, prompt=[504, 4357, 314], temperature=0, max_tokens=8)
    assert ids.usage is not None
    assert ids.usage.prompt_tokens == 3


def test_models_are_listed_and_found_by_id(client: openai.OpenAI, stack: RunningStack) -> None:
    assert [model.id for model in client.models.list()] == [stack.model]
    model = client.models.retrieve(stack.model)
    assert (model.object, model.owned_by != "", model.created > 0) == ("model", True, True)


@pytest.mark.criterion("1.8")
@pytest.mark.parametrize("key", ["sk-wrong", "sk-cy-aaaaaaaaaaaa-" + "b" * 43])
def test_a_wrong_key_is_an_authentication_error(stack: RunningStack, key: str) -> None:
    with (
        openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=key, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as excinfo,
    ):
        client.models.list()
    assert excinfo.value.code == "invalid_api_key"
    assert excinfo.value.request_id is not None


def test_an_unknown_model_is_a_not_found_error(client: openai.OpenAI) -> None:
    calls: list[Callable[[], object]] = [
        lambda: client.chat.completions.create(model="no-such", messages=QUESTION),
        lambda: client.completions.create(model="no-such", prompt="x"),
        lambda: client.models.retrieve("no-such"),
    ]
    for call in calls:
        with pytest.raises(openai.NotFoundError) as excinfo:
            call()
        assert excinfo.value.code == "model_not_found"


@pytest.mark.criterion("1.7")
@pytest.mark.case("serving.32")
def test_a_conversation_longer_than_the_context_is_rejected_with_both_numbers(
    client: openai.OpenAI, stack: RunningStack
) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "sea " * 9000}]
    with stack.client() as tokenizer:
        response = tokenizer.post("/v1/tokenize", json={"model": stack.model, "messages": messages})
    tokens = response.json()["count"]
    with pytest.raises(openai.BadRequestError) as excinfo:
        client.chat.completions.create(model=stack.model, messages=messages, max_tokens=8)
    assert (excinfo.value.code, excinfo.value.param) == ("context_length_exceeded", "messages")
    assert "maximum context length is 8192 tokens" in excinfo.value.message
    numbers = f"you requested {tokens + 8} tokens ({tokens} in the messages, 8 in the completion)"
    assert tokens > 9000
    assert numbers in excinfo.value.message


@pytest.mark.criterion("1.8")
@pytest.mark.case("serving.16")
@measured_again
def test_a_revoked_key_is_rejected_within_a_second(stack: RunningStack) -> None:
    key = json.loads(stack.manage("keys", "create", "--tenant", "demo", "--name", "short-lived", "--json"))
    with openai.OpenAI(base_url=f"{stack.base_url}/v1", api_key=key["secret"], max_retries=0) as client:
        assert client.models.list().data
        stack.manage("keys", "revoke", key["prefix"])
        revoked_at = time.monotonic()
        error: openai.AuthenticationError | None = None
        while error is None and time.monotonic() - revoked_at < PATIENCE_S:
            try:
                client.models.list()
            except openai.AuthenticationError as refused:
                error = refused
        refused_s = time.monotonic() - revoked_at
    assert error is not None
    assert error.code == "key_revoked"
    assert_within(refused_s, 1)


def test_a_stop_string_is_never_in_the_text(client: openai.OpenAI, stack: RunningStack) -> None:
    answer = client.chat.completions.create(
        model=stack.model, messages=QUESTION, temperature=0, max_tokens=16, stop=["ance is"]
    )
    assert answer.choices[0].message.content == "The capital of Fr"
    assert answer.choices[0].finish_reason == "stop"
