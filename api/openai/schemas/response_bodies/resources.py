"""Response bodies of embeddings, tokenization, models and resumable streams."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.openai.schemas.response_bodies.base import Count, ResponseBody, Usage


class Embedding(ResponseBody):
    """One vector: a list of numbers, or 32-bit floats in base64."""

    index: Count
    object: Literal["embedding"]
    embedding: list[float] | str


class EmbeddingList(ResponseBody):
    """The vectors, in the order of the inputs."""

    id: str | None = None
    object: Literal["list"]
    created: Count | None = None
    model: str
    data: Annotated[list[Embedding], Field(min_length=1)]
    usage: Usage


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
    """A model that the API key may use."""

    id: str
    object: Literal["model"]
    created: Count
    owned_by: str


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
