"""A valid request, and the JSON body that the engine receives for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.openai.schemas.parameters import WITHOUT_EFFECT

BYTES_PER_TOKEN = 4  # a rough average, good enough for routing
GATEWAY_STREAM_OPTIONS = frozenset({"on_disconnect"})  # unknown to engines
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
    """A validated request. ``fields`` are the client's parameters, without nulls.

    ``choices``: number of completions over all prompts.
    ``completion_limit``: maximum tokens of each completion; None for the rest of the context.
    ``requested_completion_tokens``: the limit as the client sent it, None if it sent none.
    ``uses_prefix_cache``: the engine may cache prefixes, so the body needs the tenant's salt.
    ``token_prompt_lengths``: lengths of the prompts that consist of token ids.
    """

    model: str
    is_streamed: bool
    completion_limit: int | None
    choices: int
    fields: Mapping[str, Any]
    uses_prefix_cache: bool = True
    requested_completion_tokens: int | None = None
    token_prompt_lengths: tuple[int, ...] = ()

    @property
    def is_detached(self) -> bool:
        """True if the request continues after its client disconnects."""
        return (self.fields.get("stream_options") or {}).get("on_disconnect") == "continue"

    def engine_body(self, *, model: str, cache_salt: str) -> bytes:
        """Return the JSON body for the engine, with its canonical model name and the tenant's cache salt."""
        body = {name: value for name, value in self.fields.items() if name not in WITHOUT_EFFECT}
        body |= _vllm_overrides(body)
        if options := body.get("stream_options"):
            body["stream_options"] = {
                name: value for name, value in options.items() if name not in GATEWAY_STREAM_OPTIONS
            }
        body["model"] = model
        if self.uses_prefix_cache:
            body["cache_salt"] = cache_salt
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    def cost_tokens(self, body_bytes: int, max_model_len: int) -> int:
        """Return a rough upper bound of the tokens used, for routing; never for billing."""
        prompt = body_bytes // BYTES_PER_TOKEN
        limit = max_model_len if self.completion_limit is None else self.completion_limit
        return min(prompt + limit * self.choices, max_model_len * self.choices)


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
