"""A valid request, and the JSON body that the engine receives for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

BYTES_PER_TOKEN = 4  # a rough average, good enough for routing
DEFAULT_CONTEXT_TOKENS = 4096  # an assumption, if neither worker nor registry reports the length
# OpenAI accepts 0 for "only the likeliest token"; vLLM requires a positive value. This has the same effect.
MIN_TOP_P = 1e-9
# vLLM rejects n > 1 with greedy sampling. Sampling from the likeliest token alone is equivalent,
# also when two tokens are equally likely.
GREEDY_TEMPERATURE = 1e-5
GREEDY_SAMPLING: Mapping[str, Any] = {"temperature": 1.0, "top_k": 1, "top_p": MIN_TOP_P}
# vLLM reads -1 as "no seed"; for OpenAI it is an ordinary seed.
SEED_FOR_MINUS_ONE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A validated request. ``fields`` are the parameters for the engine, without nulls.

    ``choices``: number of completions over all prompts.
    ``completion_limit``: maximum tokens of each completion; None for the rest of the context.
    ``requested_completion_tokens``: the limit as the client sent it, None if it sent none.
    ``uses_prefix_cache``: the engine may cache prefixes, so the body needs the tenant's salt.
    ``is_detached``: the request continues after its client disconnects.
    ``has_functions``: the answer has function calls in place of tool calls.
    ``names_without_effect``: parameters of the request that have no effect.
    ``effort_name``: the parameter that the client's reasoning effort is in.
    ``service_tier``: OpenAI's name of the tier that the client asks for.
    ``token_prompt_lengths``: lengths of the prompts that consist of token ids.
    ``most_prompt_tokens``: upper bound of the tokens of all prompts, without those of the chat template.
    """

    model: str
    is_streamed: bool
    completion_limit: int | None
    choices: int
    fields: Mapping[str, Any]
    uses_prefix_cache: bool = True
    requested_completion_tokens: int | None = None
    token_prompt_lengths: tuple[int, ...] = ()
    is_detached: bool = False
    has_functions: bool = False
    names_without_effect: tuple[str, ...] = ()
    effort_name: str = "reasoning_effort"
    service_tier: str | None = None
    most_prompt_tokens: int = 0

    @classmethod
    def without_generation(
        cls, model: str, fields: Mapping[str, Any], *, choices: int = 1, **options: Any
    ) -> EngineRequest:
        """Return a request that generates nothing. ``options``: further attributes."""
        return cls(
            model=model, is_streamed=False, completion_limit=0, choices=choices, fields=fields, **options
        )

    def engine_body(self, *, model: str, cache_salt: str, priority: int = 0) -> bytes:
        """Return the JSON body for the engine, with its canonical model name and the tenant's cache salt.

        ``priority``: the engine starts requests with lower numbers first.
        """
        body = {**self.fields, **_vllm_overrides(self.fields), "model": model}
        if self.uses_prefix_cache:
            body["cache_salt"] = cache_salt
        if priority:
            body["priority"] = priority
        return msgspec.json.encode(body)

    def with_limit(self, completion_tokens: int) -> EngineRequest:
        """Return the request with a limit of each completion, unless it has one."""
        if self.completion_limit is not None:
            return self
        fields = {**self.fields, "max_tokens": completion_tokens}
        return replace(self, completion_limit=completion_tokens, fields=fields)

    def cost_tokens(self, body_bytes: int, max_model_len: int) -> int:
        """Return a rough upper bound of the tokens used, for routing; never for billing."""
        prompt = body_bytes // BYTES_PER_TOKEN
        limit = max_model_len if self.completion_limit is None else self.completion_limit
        return min(prompt + limit * self.choices, max_model_len * self.choices)


def request_weight(cost_tokens: int, max_model_len: int) -> int:
    """Return the weight of a request in slots: the number of whole contexts that it can fill, at least 1."""
    return max(1, -(-cost_tokens // max_model_len))


def _vllm_overrides(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return vLLM's equivalents of the values that it interprets differently from OpenAI."""
    overrides: dict[str, Any] = {}
    if body.get("top_p") == 0:
        overrides["top_p"] = MIN_TOP_P
    if body.get("seed") == -1:
        overrides["seed"] = SEED_FOR_MINUS_ONE
    if body.get("temperature", 1) < GREEDY_TEMPERATURE and body.get("n", 1) > 1:
        overrides |= GREEDY_SAMPLING
    return overrides
