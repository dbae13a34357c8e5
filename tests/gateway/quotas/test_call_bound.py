"""The bound of a call: never below what it can use, and no higher than its prompt and its context allow."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.gateway.stages.models.workers import model_template_size
from api.gateway.stages.quota.call_bound import CallBound, call_bound
from api.openai.validation.engine_request import DEFAULT_CONTEXT_TOKENS
from api.openai.validation.prompt_bound import UNKNOWN_TEMPLATE, TemplateSize
from api.openai.validation.requests import (
    validate_chat_body,
    validate_completion_body,
    validate_embedding_body,
    validate_tokenize_body,
)
from inference_worker.protocol.messages import Operation
from inference_worker.protocol.prices import Prices
from inference_worker.registry.selectors import CatalogueEntry
from tests.heartbeats import ready_heartbeat

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
PRICES = Prices(prompt=1_000_000, cached=100_000, completion=4_000_000)  # 1 and 4 micro-dollars per token
CONTEXT, BYTES = 2048, 100
TEMPLATE_TOKENS, OPTION_TOKENS = TEMPLATE = TemplateSize(31, 400)
LIMITED: dict[str, Any] = {"max_completion_tokens": 50}


def chat_bound(
    context: int = CONTEXT, prices: Prices = PRICES, template: TemplateSize = TEMPLATE, **fields: Any
) -> CallBound:
    request = validate_chat_body({**CHAT, **fields})
    bound = call_bound(request, Operation.CHAT_COMPLETIONS, BYTES, context, template, prices)
    assert bound is not None
    return bound


def prompt_bytes(**fields: Any) -> int:
    """Return the bound of the prompt without its template."""
    return validate_chat_body({**CHAT, **fields}).most_prompt_tokens


def test_a_completion_without_a_limit_reserves_the_context_once() -> None:
    amounts = chat_bound().amounts
    assert (amounts.tokens, amounts.cost) == (CONTEXT, 4 * CONTEXT), "prompt and completion share it"
    assert chat_bound(n=3).amounts.cost == 3 * 4 * CONTEXT


def test_a_limited_completion_reserves_its_limit_and_a_token_for_each_byte_of_the_prompt() -> None:
    amounts, prompt = chat_bound(**LIMITED).amounts, prompt_bytes(**LIMITED)
    assert prompt > len(str(CHAT["messages"]))
    assert (amounts.tokens, amounts.cost) == (BYTES // 4 + 50, prompt + TEMPLATE_TOKENS + 4 * 50)
    long_completion = chat_bound(max_completion_tokens=CONTEXT - 10).amounts
    assert long_completion.cost == 10 + 4 * (CONTEXT - 10), "the prompt has the rest of the context"


def test_the_tokens_of_a_template_are_those_that_the_workers_report() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    assert chat_bound(**LIMITED).prompt_tokens == prompt_bytes(**LIMITED) + TEMPLATE_TOKENS
    for option in ({"tools": [tool]}, {"reasoning_effort": "low"}, {"chat_template_kwargs": {"a": True}}):
        fields: dict[str, Any] = {**LIMITED, **option}
        expected = prompt_bytes(**fields) + TEMPLATE_TOKENS + OPTION_TOKENS
        assert chat_bound(**fields).prompt_tokens == expected


def test_a_prompt_that_is_dearer_than_the_completion_is_reserved_in_full() -> None:
    prices = Prices(prompt=0, cached=5_000_000, completion=1_000_000)
    assert chat_bound(prices=prices).amounts.cost == 5 * (prompt_bytes() + TEMPLATE_TOKENS) + CONTEXT


def test_a_prompt_of_token_ids_reserves_exactly_its_tokens() -> None:
    prompts = [[1] * 30, [100_000] * 20]
    request = validate_completion_body({"model": "m", "prompt": prompts, "max_tokens": 5, "n": 2})
    bound = call_bound(request, Operation.COMPLETIONS, 400, CONTEXT, TEMPLATE, PRICES)
    assert bound is not None
    assert (bound.amounts.tokens, bound.amounts.cost) == (50 + 4 * 5, 50 + 4 * 4 * 5)
    request = validate_embedding_body({"model": "m", "input": prompts})
    bound = call_bound(request, Operation.EMBEDDINGS, 400, CONTEXT, TEMPLATE, PRICES)
    assert bound is not None
    assert (bound.amounts.tokens, bound.amounts.cost) == (50, 50)


def test_an_echo_without_completion_reserves_the_token_that_vllm_generates_for_each_choice() -> None:
    body = {"model": "m", "prompt": [[1] * 30, [2] * 20], "max_tokens": 0, "echo": True, "n": 3}
    bound = call_bound(validate_completion_body(body), Operation.COMPLETIONS, 400, CONTEXT, TEMPLATE, PRICES)
    assert bound is not None
    assert (bound.amounts.tokens, bound.amounts.cost) == (50 + 6, 50 + 4 * 6)


def test_without_a_known_context_the_limit_of_the_completion_bounds_the_call() -> None:
    limit: dict[str, Any] = {"max_completion_tokens": 9000}
    assert chat_bound(context=0, **limit).amounts.cost == prompt_bytes(**limit) + TEMPLATE_TOKENS + 4 * 9000
    prompt = prompt_bytes() + TEMPLATE_TOKENS
    assert chat_bound(context=0).amounts.cost == 4 * (prompt + DEFAULT_CONTEXT_TOKENS)


def test_a_tokenizer_reserves_nothing() -> None:
    request = validate_tokenize_body({"model": "m", "prompt": "hello"})
    assert call_bound(request, Operation.TOKENIZE, BYTES, CONTEXT, TEMPLATE, PRICES) is None


@given(data=st.data(), context=st.integers(1, 300), size=st.integers(1, 600), choices=st.integers(1, 3))
def test_no_use_costs_more_than_the_bound_and_lower_limits_keep_what_they_promise(
    data: st.DataObject, context: int, size: int, choices: int
) -> None:
    limit = data.draw(st.none() | st.integers(1, 400))
    prompt_price, completion_price = data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
    prices = Prices(prompt=prompt_price * 10**6, completion=completion_price * 10**6)

    def bound_with(completion_limit: int | None) -> CallBound:
        messages = [{"role": "user", "content": "a" * size}]
        body = {"model": "m", "messages": messages, "n": choices, "max_completion_tokens": completion_limit}
        request = validate_chat_body(body)
        bound = call_bound(request, Operation.CHAT_COMPLETIONS, size, context, TEMPLATE, prices)
        assert bound is not None
        return bound

    bound = bound_with(limit)
    prompt = data.draw(st.integers(1, min(context, size + TEMPLATE_TOKENS)))
    most = min(context - prompt, context if limit is None else limit)
    completions = [data.draw(st.integers(0, most)) for _ in range(choices)]
    assert prices.cost_microusd(prompt, 0, sum(completions)) <= bound.amounts.cost
    budget = data.draw(st.integers(0, bound.amounts.cost))
    if lower_limit := bound.completion_within_cost(budget):
        assert bound_with(lower_limit).amounts.cost <= budget
    rate = data.draw(st.integers(0, bound.amounts.tokens))
    if lower_limit := bound.completion_within_tokens(rate):
        assert bound_with(lower_limit).amounts.tokens <= rate


@pytest.mark.parametrize(
    ("counts", "expected"), [((), 256), ((31,), 31), ((31, 40), 40), ((31, None), 256), ((900, None), 900)]
)
def test_the_longest_template_counts_and_one_of_unknown_size_has_an_allowance(
    counts: tuple[int | None, ...], expected: int
) -> None:
    entry = CatalogueEntry("m", (), None, "acme", 0, True, frozenset())
    workers = [ready_heartbeat("m", template_tokens=count, template_option_tokens=7) for count in counts]
    size = model_template_size(entry, [*workers, ready_heartbeat("other")])
    assert size == (expected, 7 if counts else UNKNOWN_TEMPLATE.option_tokens)
