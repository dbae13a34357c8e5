"""Upper bound of what a call can use: the amounts that its quota reserves."""

from __future__ import annotations

from dataclasses import dataclass

from api.openai.validation.engine_request import (
    BYTES_PER_TOKEN,
    DEFAULT_CONTEXT_TOKENS,
    EngineRequest,
)
from api.openai.validation.prompt_bound import TemplateSize
from inference_worker.protocol.messages import TOKENIZER_OPERATIONS, Operation
from inference_worker.protocol.operations import OPERATION_SPECS
from inference_worker.protocol.prices import Prices
from tenants.quotas.amounts import MAX_COST, Amounts

TEMPLATE_OPTIONS = ("tools", "chat_template_kwargs", "reasoning_effort")
MICRO = 1_000_000
LIMIT_BYTES = 40  # of a parameter that limits the completion


@dataclass(frozen=True, slots=True)
class CallBound:
    """Upper bound of a call: tokens of all its prompts together, and of each of its completions.

    ``estimated_prompt_tokens`` count towards tokens per minute; ``prompt_tokens`` are an upper bound, for the
    cost. ``prices``: those of uncached prompts and of completions.
    """

    prompt_tokens: int
    estimated_prompt_tokens: int
    completion_tokens: int
    choices: int
    context_tokens: int
    prices: Prices

    @property
    def amounts(self) -> Amounts:
        """The amounts to reserve."""
        all_tokens = self.estimated_prompt_tokens + self.completion_tokens * self.choices
        tokens = min(all_tokens, self.context_tokens * self.choices)
        return Amounts(1, tokens, min(self._cost, MAX_COST))

    @property
    def _cost(self) -> int:
        """The highest cost in micro-dollars.

        Prompt and completion share the context. If a token of the prompt costs no more than one of the
        completion, the dearest call has its longest completions, and a prompt in the rest of the context.
        """
        prompt_tokens = self.prompt_tokens
        if self.prices.prompt <= self.prices.completion:
            rest = (self.context_tokens - self.completion_tokens) * self.choices
            prompt_tokens = min(prompt_tokens, rest)
        return self.prices.cost_microusd(prompt_tokens, 0, self.completion_tokens * self.choices)

    def completion_within_cost(self, microusd: int) -> int:
        """Return the limit of each completion with which the call costs no more; 0 if there is none."""
        price = self.prices.completion * self.choices
        room = microusd * MICRO - (self.prompt_tokens + LIMIT_BYTES) * self.prices.prompt
        return self._lower_limit(room // price if price else 0)

    def completion_within_tokens(self, tokens: int) -> int:
        """Return the limit of each completion with which the call reserves no more; 0 if there is none."""
        prompt_tokens = self.estimated_prompt_tokens + LIMIT_BYTES // BYTES_PER_TOKEN
        return self._lower_limit((tokens - prompt_tokens) // self.choices)

    def _lower_limit(self, completion_tokens: int) -> int:
        return max(0, min(completion_tokens, self.completion_tokens - 1))


def call_bound(
    request: EngineRequest,
    operation: Operation,
    input_bytes: int,
    context_tokens: int,
    template: TemplateSize,
    prices: Prices,
) -> CallBound | None:
    """Return the bound of a call, None if it uses no model.

    ``input_bytes``: those of the request and of what it refers to, for the estimate. ``context_tokens``: 0 if
    unknown; then the prompt and the limit of the completion bound the call, so it needs one.
    """
    if operation in TOKENIZER_OPERATIONS:
        return None
    limit, prompt_tokens = request.completion_limit, request.most_prompt_tokens
    if limit is not None:
        # vLLM generates a token even for an echo without completion.
        limit = max(limit, OPERATION_SPECS[operation].min_completion_tokens)
    if operation is Operation.CHAT_COMPLETIONS:
        prompt_tokens += _most_template_tokens(request, template)
    context = context_tokens or prompt_tokens + (DEFAULT_CONTEXT_TOKENS if limit is None else limit)
    return CallBound(
        prompt_tokens=min(prompt_tokens, context * request.choices),
        estimated_prompt_tokens=sum(request.token_prompt_lengths) or input_bytes // BYTES_PER_TOKEN,
        completion_tokens=context if limit is None else min(limit, context),
        choices=request.choices,
        context_tokens=context,
        prices=Prices(prompt=max(prices.prompt, prices.cached), completion=prices.completion),
    )


def _most_template_tokens(request: EngineRequest, template: TemplateSize) -> int:
    """Return the most tokens of the template. It adds less to further messages than their JSON has bytes."""
    has_options = any(request.fields.get(name) for name in TEMPLATE_OPTIONS)
    return template.tokens + (template.option_tokens if has_options else 0)
