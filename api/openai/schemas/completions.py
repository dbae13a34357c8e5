"""The schema of ``POST /v1/completions``."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Field, Tag

from api.openai.schemas.fields import LIST, TEXT, TokenId
from api.openai.schemas.policies import Fixed, Refused
from api.openai.schemas.sampling import Sampling

MAX_PROMPTS = 1024
DEFAULT_LIMIT = 16
PromptText: TypeAlias = Annotated[str, Field(min_length=1)]
Tokens: TypeAlias = Annotated[list[TokenId], Field(fail_fast=True, min_length=1)]

Prompts: TypeAlias = str | list[str] | list[int] | list[list[int]]


def prompt_tag(value: Any) -> str:
    """Return the tag of the union branch, texts or token ids, for a value."""
    if isinstance(value, str):
        return TEXT
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, int) and not isinstance(first, bool):
        return "<tokens>"
    return "<token lists>" if isinstance(first, list) else LIST


def prompt_count(prompts: Prompts) -> int:
    """Return the number of prompts."""
    return len(prompts) if isinstance(prompts, list) and not isinstance(prompts[0], int) else 1


def token_lengths(prompts: Prompts) -> tuple[int, ...]:
    """Return the length of each prompt of token ids; an empty tuple for texts."""
    if isinstance(prompts, str) or isinstance(prompts[0], str):
        return ()
    if isinstance(prompts[0], int):
        return (len(prompts),)
    return tuple(len(prompt) for prompt in prompts if isinstance(prompt, list))


Prompt: TypeAlias = Annotated[
    Annotated[PromptText, Tag(TEXT)]
    | Annotated[list[PromptText], Field(fail_fast=True, min_length=1, max_length=MAX_PROMPTS), Tag(LIST)]
    | Annotated[Tokens, Tag("<tokens>")]
    | Annotated[
        list[Tokens], Field(fail_fast=True, min_length=1, max_length=MAX_PROMPTS), Tag("<token lists>")
    ],
    Discriminator(prompt_tag),
]


class CompletionRequest(Sampling):
    """All parameters of a completion."""

    prompt: Prompt
    max_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    best_of: Annotated[
        Annotated[int, Field(ge=1, le=20)] | None, Fixed("only a value equal to 'n' is supported")
    ] = None
    suffix: Annotated[None, Refused("engines do not support infilling")] = None

    @property
    def completion_limit(self) -> int:
        """The maximum tokens of one choice."""
        return DEFAULT_LIMIT if self.max_tokens is None else self.max_tokens

    @property
    def token_prompt_lengths(self) -> tuple[int, ...]:
        """The lengths of the prompts that consist of token ids."""
        return token_lengths(self.prompt)

    @property
    def choices(self) -> int:
        """The number of choices over all prompts."""
        return (self.n or 1) * prompt_count(self.prompt)
