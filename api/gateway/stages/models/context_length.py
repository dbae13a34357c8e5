"""Context overflows: the check for prompts of token ids, and the error of every overflow."""

from __future__ import annotations

from api.openai.errors.parameters import ContextLengthExceeded
from api.openai.validation.engine_request import EngineRequest
from inference_worker.protocol.faults import ContextOverflow
from inference_worker.protocol.messages import Operation
from inference_worker.protocol.operations import OPERATION_SPECS


def check_context(request: EngineRequest, operation: Operation, limit: int) -> None:
    """Raise ContextLengthExceeded for the first prompt of token ids that leaves no room for its completion.

    ``limit``: tokens of the model's context, 0 if unknown. The worker counts texts, as it has the tokenizer.
    """
    for prompt_tokens in request.token_prompt_lengths if limit else ():
        overflow = OPERATION_SPECS[operation].context_overflow(
            limit_tokens=limit,
            prompt_tokens=prompt_tokens,
            completion_limit=request.requested_completion_tokens,
        )
        if overflow is not None:
            raise context_error(overflow, operation)


def context_error(overflow: ContextOverflow, operation: Operation) -> ContextLengthExceeded:
    """Return the error of an overflow, with every count that is known."""
    prompt = OPERATION_SPECS[operation].prompt_param
    explanation, reducible = _explanation(overflow, prompt)
    return ContextLengthExceeded(
        param=prompt,
        limit=overflow.limit_tokens,
        explanation=f"{explanation}. Please reduce the length of the {reducible}",
    )


def _explanation(overflow: ContextOverflow, prompt: str) -> tuple[str, str]:
    """Return what exceeds the context, and what the client can reduce."""
    match overflow:
        case ContextOverflow(limiting_param=str(param), completion_tokens=completion_tokens):
            return f"you requested {completion_tokens} tokens in the completion", f"'{param}'"
        case ContextOverflow(prompt_tokens=int(prompt_tokens), completion_tokens=int(completion_tokens)):
            parts = f"{prompt_tokens} in the {prompt}, {completion_tokens} in the completion"
            total = prompt_tokens + completion_tokens
            return f"you requested {total} tokens ({parts})", f"{prompt} or completion"
        case ContextOverflow(prompt_tokens=int(prompt_tokens), at_least=at_least):
            count = f"at least {prompt_tokens}" if at_least else f"{prompt_tokens}"
            return f"your {prompt} resulted in {count} tokens", prompt
        case ContextOverflow(prompt_characters=int(characters)):
            size = f"{characters} characters in the {prompt}, which result in more tokens"
            return f"you sent {size}", prompt
    return f"your {prompt} resulted in more tokens", prompt
