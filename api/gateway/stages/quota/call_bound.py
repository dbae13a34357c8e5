"""Upper bound of what a call can use: the amounts that its quota reserves."""

from __future__ import annotations

from dataclasses import dataclass

from api.openai.validation.engine_request import (
    BYTES_PER_TOKEN,
    DEFAULT_CONTEXT_TOKENS,
    EngineRequest,
)
from inference_worker.protocol.messages import TOKENIZER_OPERATIONS, Operation
from inference_worker.protocol.prices import Prices
from tenants.quotas.amounts import MAX_COST, Amounts

# Allowance for what a template adds for its options, and for a whole template of which no size is reported.
TEMPLATE_TOKENS = 256
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
    template_tokens: int | None,
    prices: Prices,
) -> CallBound | None:
    """Return the bound of a call, None if it uses no model.

    A prompt of token ids has as many tokens. In a text, each has at least one byte, apart from what template
    and tokenizer add (``prompt_growth``). ``context_tokens``: 0 if unknown; then the prompt and the limit of
    the completion bound the call. ``template_tokens``: those of a conversation with a single short message,
    None if unknown.
    """
    if operation in TOKENIZER_OPERATIONS:
        return None
    id_count, limit = sum(request.token_prompt_lengths), request.completion_limit
    prompt_tokens = id_count or input_bytes + request.prompt_growth
    if operation is Operation.CHAT_COMPLETIONS:
        prompt_tokens += _most_template_tokens(request, template_tokens)
    context = context_tokens or prompt_tokens + (DEFAULT_CONTEXT_TOKENS if limit is None else limit)
    return CallBound(
        prompt_tokens=min(prompt_tokens, context * request.choices),
        estimated_prompt_tokens=id_count or input_bytes // BYTES_PER_TOKEN,
        completion_tokens=context if limit is None else min(limit, context),
        choices=request.choices,
        context_tokens=context,
        prices=Prices(prompt=max(prices.prompt, prices.cached), completion=prices.completion),
    )


def _most_template_tokens(request: EngineRequest, template_tokens: int | None) -> int:
    """Return the most tokens of the template. It adds less to further messages than their JSON has bytes."""
    if template_tokens is None:
        return TEMPLATE_TOKENS
    has_options = any(request.fields.get(name) for name in TEMPLATE_OPTIONS)
    return template_tokens + (TEMPLATE_TOKENS if has_options else 0)
