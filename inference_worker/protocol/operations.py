"""Engine operations: one specification for each, shared by gateway and worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference_worker.protocol.faults import ContextOverflow
from inference_worker.protocol.messages import Operation


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """Properties of an operation.

    ``path``: the engine's HTTP route. ``prompt_param``: the request parameter that the engine reads.
    ``min_completion_tokens``: context that a request needs beyond its prompt.
    """

    path: str
    prompt_param: str
    min_completion_tokens: int

    def context_overflow(
        self, *, limit_tokens: int, prompt_tokens: int, completion_limit: int | None
    ) -> ContextOverflow | None:
        """Return the overflow of a request, None if it fits the context of ``limit_tokens``.

        ``completion_limit``: the client's own limit, None if it set none.
        """
        completion_tokens = max(completion_limit or 0, self.min_completion_tokens)
        if prompt_tokens + completion_tokens <= limit_tokens:
            return None
        is_prompt_alone = completion_limit is None and prompt_tokens > limit_tokens
        return ContextOverflow(
            limit_tokens=limit_tokens,
            prompt_tokens=prompt_tokens,
            completion_tokens=None if is_prompt_alone else completion_tokens,
        )


OPERATION_SPECS: Mapping[Operation, OperationSpec] = {
    Operation.CHAT_COMPLETIONS: OperationSpec("/v1/chat/completions", "messages", 1),
    Operation.COMPLETIONS: OperationSpec("/v1/completions", "prompt", 1),
    Operation.EMBEDDINGS: OperationSpec("/v1/embeddings", "input", 0),
    Operation.TOKENIZE: OperationSpec("/tokenize", "prompt", 1),
    Operation.DETOKENIZE: OperationSpec("/detokenize", "tokens", 1),
}


def template_variables(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the template variables of a chat request, as vLLM's chat route sets them.

    Its tokenizer route ignores ``reasoning_effort``, so requests to that route need them.
    """
    variables = dict(body.get("chat_template_kwargs") or {})
    if (effort := body.get("reasoning_effort")) is not None:
        variables = {"enable_thinking": effort != "none", **variables, "reasoning_effort": effort}
    return variables
