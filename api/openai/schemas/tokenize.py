"""The schemas of ``POST /tokenize`` and ``POST /detokenize``, which are vLLM's extensions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.openai.schemas.fields import MAX_TOOLS, Json, ModelName, TokenId
from api.openai.schemas.messages import Message
from api.openai.schemas.policies import Refused, Wire
from api.openai.schemas.refused import RefusedParameters
from api.openai.schemas.tools import AnyTool

# A request blocks the worker's tokenizer for all others. This much text takes about a second.
MAX_CHARACTERS = 1_000_000


class TokenizeRequest(RefusedParameters):
    """Either ``prompt``, or ``messages`` with the parameters of a conversation."""

    model: ModelName
    prompt: Annotated[str, Field(max_length=MAX_CHARACTERS)] | None = None
    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1)] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: Json | None = None
    tools: Annotated[list[AnyTool], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = None
    tool_choice: Annotated[None, Refused("the prompt always includes all 'tools'")] = None


class DetokenizeRequest(Wire):
    """Token ids to convert to text."""

    model: ModelName
    tokens: Annotated[list[TokenId], Field(fail_fast=True)]
