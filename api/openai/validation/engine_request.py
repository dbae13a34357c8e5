"""A checked request, and the body that an engine is given for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.openai.schemas.parameters import WITHOUT_EFFECT

BYTES_PER_TOKEN = 4  # rough, for routing only
GATEWAY_STREAM_OPTIONS = frozenset({"on_disconnect"})  # no engine knows them
# OpenAI takes 0 for "only the likeliest token"; vLLM wants more than 0, and so little means the same.
LEAST_TOP_P = 1e-9
# It refuses several greedy answers, but has other words for always taking the likeliest token: drawing from
# that one alone, and from one where two are as likely.
GREEDY_BELOW = 1e-5
SEVERAL_GREEDY: Mapping[str, Any] = {"temperature": 1.0, "top_k": 1, "top_p": LEAST_TOP_P}
# It takes -1 for no seed; to a client it is a seed like others.
SEED_OF_MINUS_ONE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A request that may go to an engine. ``fields`` are the client's, without nulls.

    ``choices``: how many answers are made, over all prompts; ``completion_limit``: the most tokens of each,
    None for all that the context holds; ``asked_tokens``: the same as far as the client said it.
    ``salted``: the engine keeps a cache of prefixes for it, which no other tenant's request may find.
    ``token_prompts``: lengths of those prompts that are token ids.
    """

    model: str
    streamed: bool
    completion_limit: int | None
    choices: int
    fields: Mapping[str, Any]
    salted: bool = True
    asked_tokens: int | None = None
    token_prompts: tuple[int, ...] = ()

    @property
    def detached(self) -> bool:
        """Whether the answer is to be made to its end though the client leaves."""
        return (self.fields.get("stream_options") or {}).get("on_disconnect") == "continue"

    def engine_body(self, *, model: str, cache_salt: str) -> bytes:
        """The JSON body for the engine: canonical model name, the tenant's salt, else as it came."""
        body = {name: value for name, value in self.fields.items() if name not in WITHOUT_EFFECT}
        body |= _in_words_of_vllm(body)
        if options := body.get("stream_options"):
            body["stream_options"] = {
                name: value for name, value in options.items() if name not in GATEWAY_STREAM_OPTIONS
            }
        body["model"] = model
        if self.salted:
            body["cache_salt"] = cache_salt
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    def cost_tokens(self, body_bytes: int, max_model_len: int) -> int:
        """The most tokens the request can take, roughly: for routing, not for money."""
        prompt = body_bytes // BYTES_PER_TOKEN
        limit = max_model_len if self.completion_limit is None else self.completion_limit
        return min(prompt + limit * self.choices, max_model_len * self.choices)


def _in_words_of_vllm(body: Mapping[str, Any]) -> dict[str, Any]:
    """Where vLLM means something else by a value than OpenAI: what it is told instead."""
    told: dict[str, Any] = {}
    if body.get("top_p") == 0:
        told["top_p"] = LEAST_TOP_P
    if body.get("seed") == -1:
        told["seed"] = SEED_OF_MINUS_ONE
    if body.get("temperature", 1) < GREEDY_BELOW and body.get("n", 1) > 1:
        told |= SEVERAL_GREEDY
    return told
