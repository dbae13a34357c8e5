"""The schema of ``POST /v1/embeddings``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.schemas.completions import PromptText, Tokens, count_of, lengths_of, prompt_kind
from api.openai.schemas.fields import LIST, TEXT, ModelName, Wire

MAX_INPUTS = 2048  # OpenAI's

Input: TypeAlias = Annotated[
    Annotated[PromptText, Tag(TEXT)]
    | Annotated[list[PromptText], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS), Tag(LIST)]
    | Annotated[Tokens, Tag("<tokens>")]
    | Annotated[
        list[Tokens], Field(fail_fast=True, min_length=1, max_length=MAX_INPUTS), Tag("<token lists>")
    ],
    Discriminator(prompt_kind),
]


class EmbeddingRequest(Wire):
    """Every parameter that is honoured; ``dimensions`` where the model was trained for it."""

    model: ModelName
    input: Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    user: str | None = None

    # vLLM's
    add_special_tokens: bool | None = None

    @property
    def token_prompts(self) -> tuple[int, ...]:
        """The lengths of those inputs that are token ids."""
        return lengths_of(self.input)

    @property
    def inputs(self) -> int:
        """How many vectors are asked for."""
        return count_of(self.input)
