"""Engine output is projected onto the published bodies: required fields, and extensions with a value."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from api.openai.schemas.response_bodies import base, chat, completions, resources
from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls import projection
from inference_worker.runtime.calls.projection import project_document, project_events

INTERNAL = dict.fromkeys(
    ("routed_experts", "kv_transfer_params", "ec_transfer_params", "prompt_logprobs", "prompt_token_ids")
)
USAGE = {
    "prompt_tokens": 5,
    "total_tokens": 7,
    "completion_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 3, "created_cache_tokens": 2, "multimodal_tokens": None},
    "completion_tokens_details": None,
}
PUBLISHED_USAGE = {
    "prompt_tokens": 5,
    "total_tokens": 7,
    "completion_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
}


def document(operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
    own_fields: dict[str, Any] = json.loads(project_document(operation, json.dumps(body).encode()))
    return own_fields


def chunk(operation: Operation, body: dict[str, Any]) -> dict[str, Any]:
    events = project_events(operation, b"data: " + json.dumps(body).encode() + b"\n\ndata: [DONE]\n\n")
    first, done_event, rest = events.split(b"\n\n")
    assert (done_event, rest) == (b"data: [DONE]", b"")
    own_fields: dict[str, Any] = json.loads(first.removeprefix(b"data: "))
    return own_fields


@pytest.mark.parametrize(
    ("body_type", "own_fields"),
    [
        (base.PromptDetails, projection.PromptDetails),
        (base.CompletionDetails, projection.CompletionDetails),
        (base.Usage, projection.Usage),
        (chat.LogProbs, projection.ChatLogProbs),
        (chat.CalledFunction, projection.CalledFunction),
        (chat.CalledTool, projection.CalledTool),
        (chat.ChatMessage, projection.ChatMessage),
        (chat.ChatChoice, projection.ChatChoice),
        (chat.ChatCompletion, projection.ChatCompletion),
        (chat.FunctionDelta, projection.CalledFunction),
        (chat.ToolDelta, projection.ToolDelta),
        (chat.ChatDelta, projection.ChatDelta),
        (chat.ChatChunkChoice, projection.ChatChunkChoice),
        (chat.ChatCompletionChunk, projection.ChatCompletionChunk),
        (completions.CompletionLogProbs, projection.CompletionLogProbs),
        (completions.CompletionChoice, projection.CompletionChoice),
        (completions.Completion, projection.Completion),
        (resources.Embedding, projection.Embedding),
        (resources.EmbeddingUsage, projection.EmbeddingUsage),
        (resources.EmbeddingList, projection.EmbeddingList),
        (resources.Tokenized, projection.Tokenized),
        (resources.Detokenized, projection.Detokenized),
    ],
)
def test_a_projected_body_has_the_fields_of_the_published_one(
    body_type: type[base.ResponseBody], own_fields: type[msgspec.Struct]
) -> None:
    fields = set(own_fields.__struct_fields__) - {"created_cache_tokens"}
    # The gateway translates calls of tools to calls of the deprecated functions.
    assert fields == set(body_type.model_fields) - {"function_call"}


@pytest.mark.case("clients.23")
@pytest.mark.case("clients.24")
def test_a_chat_completion_has_what_openai_requires_and_nothing_internal() -> None:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "a",
        "refusal": None,
        "annotations": None,
        "audio": None,
    }
    message |= {"function_call": None, "tool_calls": [], "reasoning": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    choice |= {"stop_reason": None, "token_ids": None, "routed_experts": None}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "m", "choices": [choice]}
    body |= {"service_tier": None, "system_fingerprint": None, "usage": USAGE, "metrics": None, **INTERNAL}
    own_fields = document(Operation.CHAT_COMPLETIONS, body)
    assert own_fields == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": PUBLISHED_USAGE,
    }
    chat.ChatCompletion.model_validate(own_fields)


@pytest.mark.case("clients.24")
def test_extensions_are_sent_when_they_hold_something() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": None}
    message = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "hm"}
    logprobs = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "tool_calls"}
    choice |= {"stop_reason": 2, "token_ids": [1, 2]}
    body = {"id": "c", "object": "chat.completion", "created": 5, "model": "m", "choices": [choice]}
    (own_fields,) = document(Operation.CHAT_COMPLETIONS, {**body, "usage": USAGE, **INTERNAL})["choices"]
    assert own_fields == {
        **choice,
        "logprobs": {**logprobs, "refusal": None},
        "message": {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [{name: value for name, value in call.items() if name != "index"}],
            "reasoning": "hm",
        },
    }


@pytest.mark.case("clients.24")
def test_a_chunk_keeps_only_what_changed() -> None:
    choice: dict[str, Any] = {
        "index": 0,
        "delta": {"content": "a", "reasoning": None, "tool_calls": []},
        "logprobs": None,
    }
    choice |= {"finish_reason": None, "token_ids": None, "stop_reason": None}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m"}
    own_fields = chunk(Operation.CHAT_COMPLETIONS, {**head, "choices": [choice], "usage": None, **INTERNAL})
    assert own_fields == {
        **head,
        "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}],
    }
    usage = chunk(Operation.CHAT_COMPLETIONS, {**head, "choices": [], "usage": USAGE})
    assert usage == {**head, "choices": [], "usage": PUBLISHED_USAGE}
    last = chunk(Operation.CHAT_COMPLETIONS, {**head, "choices": [{"index": 0, "delta": {}}]})
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]


@pytest.mark.case("clients.24")
def test_a_completion_states_its_finish_reason_and_log_probs_even_if_null() -> None:
    choice = {"index": 0, "text": "a", **INTERNAL, "token_ids": None, "stop_reason": None}
    head = {"id": "c", "object": "text_completion", "created": 5, "model": "m"}
    for project in (document, chunk):
        own_fields = project(Operation.COMPLETIONS, {**head, "choices": [choice], "usage": None, **INTERNAL})
        assert own_fields["choices"] == [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None}]
        assert own_fields.keys() == {*head, "choices"}


@pytest.mark.case("clients.24")
def test_embeddings_are_copied_byte_for_byte_into_openais_object() -> None:
    vector = b"[0.1,-1e-05, 3]"
    body = b'{"id":"embd-1","object":"list","created":1,"model":"m","data":[{"index":0,"object":"embedding",'
    body += (
        b'"embedding":' + vector + b'}],"usage":{"prompt_tokens":2,"total_tokens":2,"completion_tokens":0,'
    )
    own_fields = project_document(Operation.EMBEDDINGS, body + b'"prompt_tokens_details":null}}')
    assert vector in own_fields
    assert json.loads(own_fields) == {
        "object": "list",
        "model": "m",
        "data": [{"index": 0, "object": "embedding", "embedding": [0.1, -1e-05, 3]}],
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }


def test_output_of_another_form_is_an_error() -> None:
    for body in (b"{", b"[]", b'{"choices": 5}', b'{"choices": [{"delta": []}]}'):
        with pytest.raises(msgspec.MsgspecError):
            project_events(Operation.CHAT_COMPLETIONS, b"data: " + body + b"\n\n") if body[:1] == b"{" else (
                project_document(Operation.CHAT_COMPLETIONS, body)
            )
