"""Response bodies of embeddings, tokenization, models and resumable streams."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.openai.schemas.response_bodies.base import Count, ResponseBody


class Embedding(ResponseBody):
    """One vector: a list of numbers, or 32-bit floats in base64."""

    index: Count
    object: Literal["embedding"]
    embedding: list[float] | str


class EmbeddingUsage(ResponseBody):
    """Token counts of embeddings."""

    prompt_tokens: Count
    total_tokens: Count


class EmbeddingList(ResponseBody):
    """The vectors, in the order of the inputs."""

    object: Literal["list"]
    model: str
    data: Annotated[list[Embedding], Field(min_length=1)]
    usage: EmbeddingUsage


class Tokenized(ResponseBody):
    """The tokens of a text or a conversation."""

    count: Count
    max_model_len: Count
    tokens: list[Count]
    token_strs: list[str] | None = None


class Detokenized(ResponseBody):
    """The text of the tokens."""

    prompt: str


class Model(ResponseBody):
    """A model that the API key may use.

    ``root``: the base model of an adapter, otherwise the model itself. ``max_model_len`` and
    ``context_length`` are the context in tokens. Omitted if unknown.
    """

    id: str
    object: Literal["model"]
    created: Count
    owned_by: str
    root: str | None = None
    max_model_len: Count | None = None
    context_length: Count | None = None


class ModelDeleted(ResponseBody):
    """The deletion of a fine-tuned model."""

    id: str
    object: Literal["model"]
    deleted: bool


class ModelList(ResponseBody):
    """All models that the API key may use and a worker serves."""

    object: Literal["list"]
    data: list[Model]


class StreamState(ResponseBody):
    """The status of a resumable stream."""

    id: str
    object: Literal["stream"]
    status: Literal["in_progress", "completed", "failed", "cancelled"]


class StreamDeleted(ResponseBody):
    """Confirms that a resumable stream was deleted."""

    id: str
    object: Literal["stream.deleted"]
    deleted: Literal[True]
