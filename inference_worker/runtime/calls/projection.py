"""Projection of an engine's output onto the published response bodies.

Engines add fields of their own and send null for whatever they don't have. A projected body has only declared
fields: those that OpenAI requires are always present, all others only if they hold something. The structs
have the fields of ``api.openai.schemas.response_bodies``, in the order in which they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

import msgspec

from inference_worker.protocol import sse
from inference_worker.protocol.messages import Operation


def _always() -> Any:
    """Return a field that is null if the engine omits it. msgspec omits static defaults only."""
    return msgspec.field(default_factory=NoneType)


class _Body(msgspec.Struct, omit_defaults=True):
    """Base of projected objects. Decoding drops undeclared fields, encoding drops nulls and empty lists."""


class PromptDetails(_Body):
    """``created_cache_tokens`` is vLLM's name of ``cache_write_tokens``, and is never sent."""

    cached_tokens: Any = None
    cache_write_tokens: Any = None
    created_cache_tokens: Any = None

    def __post_init__(self) -> None:
        if self.cache_write_tokens is None:
            self.cache_write_tokens = self.created_cache_tokens
        self.created_cache_tokens = None


class CompletionDetails(_Body):
    reasoning_tokens: Any = None


class Usage(_Body):
    prompt_tokens: Any = None
    total_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None

    def __post_init__(self) -> None:
        if self.prompt_tokens_details == PromptDetails():
            self.prompt_tokens_details = None
        if self.completion_tokens_details == CompletionDetails():
            self.completion_tokens_details = None


class ChatLogProbs(_Body):
    content: Any = _always()
    refusal: Any = _always()


class CalledFunction(_Body):
    name: Any = None
    arguments: Any = None


class CalledTool(_Body):
    id: Any = None
    type: Any = None
    function: CalledFunction | None = None


class ChatMessage(_Body):
    role: Any = None
    content: Any = _always()
    refusal: Any = _always()
    annotations: Any = None
    tool_calls: list[CalledTool] | None = None
    reasoning: Any = None
    reasoning_content: Any = None

    def __post_init__(self) -> None:
        self.tool_calls = self.tool_calls or None
        self.annotations = self.annotations or None


class ChatChoice(_Body):
    index: Any = None
    message: ChatMessage | None = None
    logprobs: ChatLogProbs | None = _always()
    finish_reason: Any = _always()
    stop_reason: Any = None
    token_ids: Any = None


class ChatCompletion(_Body):
    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None
    choices: list[ChatChoice] | None = _always()
    usage: Usage | None = None
    service_tier: Any = None
    system_fingerprint: Any = None
    prompt_token_ids: Any = None
    prompt_text: Any = None
    metrics: Any = None


class ToolDelta(_Body):
    index: Any = None
    id: Any = None
    type: Any = None
    function: CalledFunction | None = None


class ChatDelta(_Body):
    role: Any = None
    content: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    refusal: Any = None
    tool_calls: list[ToolDelta] | None = None

    def __post_init__(self) -> None:
        self.tool_calls = self.tool_calls or None


class ChatChunkChoice(_Body):
    index: Any = None
    delta: ChatDelta | None = msgspec.field(default_factory=ChatDelta)
    logprobs: ChatLogProbs | None = None
    finish_reason: Any = _always()
    stop_reason: Any = None
    token_ids: Any = None


class ChatCompletionChunk(_Body):
    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None
    choices: list[ChatChunkChoice] | None = _always()
    usage: Usage | None = None
    service_tier: Any = None
    system_fingerprint: Any = None
    prompt_token_ids: Any = None
    prompt_text: Any = None
    metrics: Any = None


class CompletionLogProbs(_Body):
    text_offset: Any = None
    token_logprobs: Any = None
    tokens: Any = None
    top_logprobs: Any = None


class CompletionChoice(_Body):
    index: Any = None
    text: Any = None
    logprobs: CompletionLogProbs | None = _always()
    finish_reason: Any = _always()
    stop_reason: Any = None
    token_ids: Any = None
    prompt_logprobs: Any = None
    prompt_token_ids: Any = None


class Completion(_Body):
    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None
    choices: list[CompletionChoice] | None = _always()
    usage: Usage | None = None
    service_tier: Any = None
    system_fingerprint: Any = None
    metrics: Any = None


class Embedding(_Body):
    """``embedding`` is copied without decoding it: it makes up almost all of the body."""

    index: Any = None
    object: Any = None
    embedding: msgspec.Raw = msgspec.Raw(b"[]")


class EmbeddingUsage(_Body):
    prompt_tokens: Any = None
    total_tokens: Any = None


class EmbeddingList(_Body):
    object: Any = None
    model: Any = None
    data: list[Embedding] | None = _always()
    usage: EmbeddingUsage | None = None


class Tokenized(_Body):
    count: Any = None
    max_model_len: Any = None
    tokens: Any = _always()
    token_strs: Any = None


class Detokenized(_Body):
    prompt: Any = None


_DOCUMENTS: Mapping[Operation, msgspec.json.Decoder[Any]] = {
    Operation.CHAT_COMPLETIONS: msgspec.json.Decoder(ChatCompletion),
    Operation.COMPLETIONS: msgspec.json.Decoder(Completion),
    Operation.EMBEDDINGS: msgspec.json.Decoder(EmbeddingList),
    Operation.TOKENIZE: msgspec.json.Decoder(Tokenized),
    Operation.DETOKENIZE: msgspec.json.Decoder(Detokenized),
}
_CHUNKS: Mapping[Operation, msgspec.json.Decoder[Any]] = {
    Operation.CHAT_COMPLETIONS: msgspec.json.Decoder(ChatCompletionChunk),
    Operation.COMPLETIONS: msgspec.json.Decoder(Completion),
}
_encode = msgspec.json.Encoder().encode
_JSON_EVENT = sse.DATA + b"{"


def project_document(operation: Operation, body: bytes) -> bytes:
    """Return the published form of a whole response. Raises msgspec.MsgspecError if it is malformed."""
    return _encode(_DOCUMENTS[operation].decode(body))


def project_events(operation: Operation, data: bytes) -> bytes:
    """Return the published form of whole server-sent events. Raises msgspec.MsgspecError."""
    decoder = _CHUNKS[operation]
    return b"".join(
        sse.DATA + _encode(decoder.decode(event[len(sse.DATA) :])) + sse.END
        if event.startswith(_JSON_EVENT)
        else event + sse.END
        for event in sse.split_events(data)
    )
