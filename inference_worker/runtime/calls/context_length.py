"""Exact token counts for requests that exceed the model's context."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from inference_worker.protocol.faults import ContextOverflow
from inference_worker.protocol.messages import Operation, Submit
from inference_worker.protocol.operations import OPERATION_SPECS, template_variables
from inference_worker.runtime.calls.asgi_call import call_engine
from inference_worker.runtime.calls.engine import Engine
from inference_worker.runtime.calls.fault_parsing import is_context_overflow

# The tokenizer takes about a second per million characters and blocks all other requests meanwhile.
MAX_CHARACTERS_PER_TOKEN = 32  # for each token of the context
MAX_CHARACTERS = 1_000_000

_WITH_CONTEXT = frozenset({Operation.CHAT_COMPLETIONS, Operation.COMPLETIONS, Operation.EMBEDDINGS})
_CONVERSATION = ("messages", "tools", "add_generation_prompt", "continue_final_message", "add_special_tokens")


class _Limits(msgspec.Struct):
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


_limits_decoder = msgspec.json.Decoder(_Limits)


@dataclass(frozen=True, slots=True)
class ContextDemand:
    """Context that a request needs. ``completion_limit``: the client's own limit, None if it set none."""

    operation: Operation
    completion_limit: int | None

    def overflow(self, *, limit_tokens: int, prompt_tokens: int) -> ContextOverflow | None:
        """Return the overflow with a prompt of this length, None if the request fits."""
        return OPERATION_SPECS[self.operation].context_overflow(
            limit_tokens=limit_tokens, prompt_tokens=prompt_tokens, completion_limit=self.completion_limit
        )


def context_demand(submit: Submit) -> ContextDemand | None:
    """Return the request's demand, None if it needs no context or its body can't be decoded."""
    if submit.operation not in _WITH_CONTEXT:
        return None
    try:
        limits = _limits_decoder.decode(submit.body)
    except msgspec.MsgspecError:
        return None  # the engine's application reports the error
    limit = limits.max_tokens if limits.max_completion_tokens is None else limits.max_completion_tokens
    return ContextDemand(submit.operation, limit)


async def exact_overflow(
    engine: Engine, submit: Submit, engine_body: bytes, error_body: bytes
) -> ContextOverflow | None:
    """Return the context overflow that the engine reported for ``engine_body``, with exact counts.

    None if it reported another error, has no tokenizer route, or the text is too long to count.
    """
    demand = context_demand(submit)
    if demand is None or Operation.TOKENIZE not in engine.operations or not is_context_overflow(error_body):
        return None
    for request in _tokenize_requests(submit.operation, json.loads(engine_body), engine.max_model_len):
        engine_id = f"count-{submit.request_id}"
        status, response = await call_engine(engine.app, Operation.TOKENIZE, request, engine_id)
        tokens = json.loads(response) if status == 200 else {}
        limit, count = tokens.get("max_model_len"), tokens.get("count")
        if not (isinstance(limit, int) and isinstance(count, int)):
            return None
        if overflow := demand.overflow(limit_tokens=limit, prompt_tokens=count):
            return overflow
    return None


def _tokenize_requests(operation: Operation, body: Mapping[str, Any], context: int) -> list[dict[str, Any]]:
    """Return a request to the tokenizer for each prompt that may be too long."""
    max_characters = min(MAX_CHARACTERS_PER_TOKEN * context, MAX_CHARACTERS) if context else MAX_CHARACTERS
    model = {"model": body["model"]}
    if operation is Operation.CHAT_COMPLETIONS:
        parts = {name: body[name] for name in _CONVERSATION if name in body}
        request = {**model, **parts, "chat_template_kwargs": template_variables(body)}
        return [request] if len(json.dumps(parts, ensure_ascii=False)) <= max_characters else []
    prompt = body[OPERATION_SPECS[operation].prompt_param]
    texts = [text for text in ([prompt] if isinstance(prompt, str) else prompt) if isinstance(text, str)]
    options = {name: body[name] for name in ("add_special_tokens",) if name in body}
    long_texts = _long_texts(texts, context - max(body.get("max_tokens") or 0, 1), max_characters)
    return [{**model, **options, "prompt": text} for text in long_texts]


def _long_texts(texts: Sequence[str], max_tokens: int, max_characters: int) -> list[str]:
    """Return the texts that may exceed ``max_tokens``, as a token is a byte or more.

    Empty if they have more than ``max_characters`` altogether.
    """
    long_texts = [text for text in texts if len(text.encode("utf-8", "surrogatepass")) > max_tokens]
    return long_texts if sum(map(len, long_texts)) <= max_characters else []
