"""vLLM's parameters that need no more than passing on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.openai.errors.base import ApiError
from api.openai.validation.requests import validate_chat_body, validate_completion_body

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "logprobs": True}
COMPLETION = {"model": "m", "prompt": "hi", "logprobs": 0}
BASES = {"chat": (validate_chat_body, CHAT), "completions": (validate_completion_body, COMPLETION)}
VALUES: dict[str, Any] = {
    "return_tokens_as_token_ids": True,
    "logprob_token_ids": [5, 7],
    "thinking_token_budget": 32,
    "stream_interval": 4,
}
CASES = [
    pytest.param(endpoint, name, value, marks=pytest.mark.honours(endpoint, name), id=f"{endpoint}-{name}")
    for endpoint in BASES
    for name, value in ({**VALUES, "return_prompt_text": True} if endpoint == "chat" else VALUES).items()
]


@pytest.mark.case("clients.28")
@pytest.mark.parametrize(("endpoint", "name", "value"), CASES)
def test_a_parameter_reaches_the_engine(endpoint: str, name: str, value: Any) -> None:
    validate, base = BASES[endpoint]
    body = json.loads(validate({**base, name: value}).engine_body(model="m", cache_salt="s"))
    assert body[name] == value


@pytest.mark.case("clients.28")
@pytest.mark.parametrize("endpoint", BASES)
def test_ids_of_tokens_for_log_probabilities_require_log_probabilities(endpoint: str) -> None:
    validate, base = BASES[endpoint]
    with pytest.raises(ApiError) as excinfo:
        validate({**base, "logprobs": None, "logprob_token_ids": [5]})
    assert (excinfo.value.code, excinfo.value.param) == ("invalid_value", "logprob_token_ids")
