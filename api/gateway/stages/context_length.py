"""Requests that don't fit into the context of their model: counted here, where prompts are token ids."""

from __future__ import annotations

from collections.abc import Mapping

from api.openai.errors.base import ApiError
from api.openai.errors.parameters import ContextLengthExceeded
from api.openai.validation.engine_request import EngineRequest
from inference_worker.protocol.messages import Operation

# The parameter that holds what the engine reads.
PROMPTS: Mapping[Operation, str] = {
    Operation.CHAT_COMPLETIONS: "messages",
    Operation.COMPLETIONS: "prompt",
    Operation.EMBEDDINGS: "input",
    Operation.TOKENIZE: "prompt",
    Operation.DETOKENIZE: "tokens",
}


def check_context(checked: EngineRequest, operation: Operation, limit: int) -> None:
    """Raise ApiError for the first prompt of token ids without room for its completion.

    ``limit``: tokens of the model's context, 0 where nobody knows. Texts are counted by the worker, which
    has the tokenizer; its answer has the same form.
    """
    least = 0 if operation is Operation.EMBEDDINGS else 1
    needed = max(checked.asked_tokens or 0, least)
    for prompt in checked.token_prompts if limit else ():
        if prompt + needed > limit:
            alone = checked.asked_tokens is None and prompt > limit
            raise context_error(operation, limit, prompt, None if alone else needed)


def context_error(operation: Operation, limit: int, prompt: int, completion: int | None) -> ApiError:
    """``completion``: tokens asked for; None where the prompt alone is too long already."""
    part = PROMPTS[operation]
    if completion is None:
        return overlong(operation, limit, f"your {part} resulted in {prompt} tokens")
    both = f"{prompt} in the {part}, {completion} in the completion"
    found = f"you requested {prompt + completion} tokens ({both})"
    return overlong(operation, limit, found, f"{part} or completion")


def overlong(operation: Operation, limit: int | str, found: str, reduce: str = "") -> ApiError:
    """The error of a context that is too small for what was ``found``."""
    part = PROMPTS[operation]
    said = f"{found}. Please reduce the length of the {reduce or part}"
    return ContextLengthExceeded(param=part, limit=limit, found=said)
