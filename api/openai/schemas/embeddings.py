"""The schema of ``POST /v1/embeddings``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.schemas.completions import PromptText, Tokens, prompt_count, prompt_tag, token_lengths
from api.openai.schemas.fields import LIST, TEXT, ModelName, Wire

MAX_INPUTS = 2048  # OpenAI's limit

Input: TypeAlias = Annotated[
    Annotated[PromptText, Tag(TEXT)]
    | Annotated[list[PromptText], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS), Tag(LIST)]
    | Annotated[Tokens, Tag("<tokens>")]
    | Annotated[
        list[Tokens], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS), Tag("<token lists>")
    ],
    Discriminator(prompt_tag),
]


class EmbeddingRequest(Wire):
    """All supported parameters. ``dimensions`` requires a model that was trained for it."""

    model: ModelName
    input: Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    user: str | None = None

    # vLLM extensions
    add_special_tokens: bool | None = None

    @property
    def token_prompt_lengths(self) -> tuple[int, ...]:
        """The lengths of the inputs that consist of token ids."""
        return token_lengths(self.input)

    @property
    def inputs(self) -> int:
        """The number of vectors."""
        return prompt_count(self.input)
