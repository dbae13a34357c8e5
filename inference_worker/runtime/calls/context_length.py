"""Exact numbers where a request doesn't fit into the context: how many tokens it has, not only too many."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from inference_worker.protocol.messages import Operation, Submit
from inference_worker.runtime.calls.engine import Engine
from inference_worker.runtime.calls.engine_paths import ask

# Counting a text costs the tokenizer about a second for each million characters, and all wait for it.
COUNTED_PER_TOKEN = 32  # characters, for each token of the context
MAX_COUNTED = 1_000_000

# The wordings of vLLM 0.32 for a context that is too small (renderers/params.py, sampling_params.py,
# entrypoints/serve/utils/api_utils.py, v1/engine/input_processor.py). A full context leaves 0 tokens.
_TOO_LONG = re.compile(
    r"maximum context length|cannot be greater than max_model_len|maximum\s+model length"
    r"|max_tokens must be at least 1, got 0"
)
PARTS = {
    Operation.CHAT_COMPLETIONS: "messages",
    Operation.COMPLETIONS: "prompt",
    Operation.EMBEDDINGS: "input",
}
_CONVERSATION = ("messages", "tools", "add_generation_prompt", "continue_final_message", "add_special_tokens")


class _Limits(msgspec.Struct):
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


_limits_decoder = msgspec.json.Decoder(_Limits)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants of the context. ``completion``: the client's own limit; None if it set none."""

    operation: Operation
    completion: int | None

    def overflow(self, context: int, prompt: int) -> str:
        """What is wrong, in OpenAI's words; empty if it fits. A completion has a token at least.

        ``context``, ``prompt``: tokens that the model can read, and that were counted.
        """
        part = PARTS[self.operation]
        needed = 0 if self.operation is Operation.EMBEDDINGS else max(self.completion or 0, 1)
        if prompt + needed <= context:
            return ""
        if self.completion is None and prompt > context:
            found = f"your {part} resulted in {prompt} tokens"
        else:
            both = f"{prompt} in the {part}, {needed} in the completion"
            found = f"you requested {prompt + needed} tokens ({both})"
        return f"This model's maximum context length is {context} tokens. However, {found}."


def asked_by(submit: Submit) -> Asked | None:
    """What this call wants of the context, if it wants any."""
    if submit.operation not in PARTS:
        return None
    try:
        limits = _limits_decoder.decode(submit.body)
    except msgspec.MsgspecError:
        return None  # the engine's application says what is wrong with it
    limit = limits.max_tokens if limits.max_completion_tokens is None else limits.max_completion_tokens
    return Asked(submit.operation, limit)


async def explained(engine: Engine, submit: Submit, answer: bytes) -> bytes:
    """The engine's refusal of a request, with exact numbers if it is one of the context's length.

    As it came where the engine has no tokenizer to ask, or the text is too long to be counted.
    """
    wants = asked_by(submit)
    if wants is None or Operation.TOKENIZE not in engine.operations:
        return answer
    if not _TOO_LONG.search(answer.decode(errors="replace")):
        return answer
    for question in _questions(submit.operation, json.loads(submit.body), engine.max_model_len):
        status, counted = await ask(engine.app, Operation.TOKENIZE, question, f"count-{submit.request_id}")
        count = json.loads(counted) if status == 200 else {}
        context, prompt = count.get("max_model_len"), count.get("count")
        if not (isinstance(context, int) and isinstance(prompt, int)):
            return answer
        if text := wants.overflow(context, prompt):
            error = {"message": text, "type": "BadRequestError", "param": None, "code": 400}
            return json.dumps({"error": error}).encode()
    return answer


def _questions(operation: Operation, body: Mapping[str, Any], context: int) -> list[dict[str, Any]]:
    """What the tokenizer is asked, for each prompt that may be the one that is too long."""
    bound = min(COUNTED_PER_TOKEN * context, MAX_COUNTED) if context else MAX_COUNTED
    model = {"model": body["model"]}
    if operation is Operation.CHAT_COMPLETIONS:
        parts = {name: body[name] for name in _CONVERSATION if name in body}
        question = {**model, **parts, "chat_template_kwargs": _template_kwargs(body)}
        return [question] if len(json.dumps(parts, ensure_ascii=False)) <= bound else []
    given = body["input" if operation is Operation.EMBEDDINGS else "prompt"]
    texts = [text for text in ([given] if isinstance(given, str) else given) if isinstance(text, str)]
    options = {name: body[name] for name in ("add_special_tokens",) if name in body}
    return [{**model, **options, "prompt": text} for text in _candidates(texts, context, bound, body)]


def _candidates(texts: Sequence[str], context: int, bound: int, body: Mapping[str, Any]) -> list[str]:
    """Texts that can have too many tokens: each token is a byte or more. Empty if counting costs too much."""
    room = context - max(body.get("max_tokens") or 0, 1)
    found = [text for text in texts if len(text.encode("utf-8", "surrogatepass")) > room]
    return found if sum(map(len, found)) <= bound else []


def _template_kwargs(body: Mapping[str, Any]) -> dict[str, Any]:
    """As vLLM's chat route makes them; its tokenizer's route knows nothing of reasoning."""
    kwargs = dict(body.get("chat_template_kwargs") or {})
    if (effort := body.get("reasoning_effort")) is not None:
        kwargs = {"enable_thinking": effort != "none", **kwargs, "reasoning_effort": effort}
    return kwargs
