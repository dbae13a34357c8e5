"""The schema of ``POST /v1/embeddings``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.schemas.completions import PromptText, Tokens, prompt_count, prompt_tag, token_lengths
from api.openai.schemas.fields import LIST, TEXT, ModelName
from api.openai.schemas.policies import Refused
from api.openai.schemas.refused import RefusedParameters
from api.openai.schemas.sampling import IDENTIFIER

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


_NEVER_TRUNCATED = "inputs are never truncated or padded; an input that is too long is rejected"
_MODEL_DEFINED = "the model defines how its vectors are computed"
_FLOAT32 = "vectors are float32; 'base64' encodes them in little-endian order"


class EmbeddingRequest(RefusedParameters):
    """All parameters of embeddings. ``dimensions`` requires a model that was trained for it."""

    model: ModelName
    input: Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    user: Annotated[str | None, IDENTIFIER] = None

    # vLLM extensions
    add_special_tokens: bool | None = None

    truncate_prompt_tokens: Annotated[None, Refused(_NEVER_TRUNCATED)] = None
    truncation_side: Annotated[None, Refused(_NEVER_TRUNCATED)] = None
    truncate: Annotated[None, Refused(_NEVER_TRUNCATED)] = None
    padding: Annotated[None, Refused(_NEVER_TRUNCATED)] = None
    messages: Annotated[None, Refused("put texts or token ids into 'input'")] = None
    task: Annotated[None, Refused(_MODEL_DEFINED)] = None
    normalize: Annotated[None, Refused(_MODEL_DEFINED)] = None
    use_activation: Annotated[None, Refused(_MODEL_DEFINED)] = None
    embed_dtype: Annotated[None, Refused(_FLOAT32)] = None
    endianness: Annotated[None, Refused(_FLOAT32)] = None
    stream: Annotated[None, Refused("embeddings can't be streamed")] = None

    @property
    def token_prompt_lengths(self) -> tuple[int, ...]:
        """The lengths of the inputs that consist of token ids."""
        return token_lengths(self.input)

    @property
    def inputs(self) -> int:
        """The number of vectors."""
        return prompt_count(self.input)
