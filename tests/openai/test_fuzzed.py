"""Many mutated requests, validated without a stack: each is accepted or rejected by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from api.openai.errors.base import ApiError
from api.openai.errors.catalogue import CATALOGUE
from api.openai.responses.requests import validate_response_body
from api.openai.validation.json_body import parse_body
from api.openai.validation.requests import (
    validate_chat_body,
    validate_completion_body,
    validate_detokenize_body,
    validate_tokenize_body,
)
from tests.fuzzing import seeds
from tests.fuzzing.mutations import Case, case_of

CASES = 15_000
VALIDATORS: dict[str, Callable[[Any], Any]] = {
    seeds.CHAT: validate_chat_body,
    seeds.COMPLETIONS: validate_completion_body,
    seeds.TOKENIZE: validate_tokenize_body,
    seeds.DETOKENIZE: validate_detokenize_body,
    seeds.RESPONSES: lambda body: _chat_of(validate_response_body(body)),
}


def _chat_of(response: Any) -> Any:
    return response.chat([])


def _outcome(case: Case) -> str:
    try:
        request = VALIDATORS[case.path](parse_body(case.body))
    except ApiError as error:
        is_well_formed = error.status == 400 and error.message.isprintable() and len(error.message) < 1000
        return error.code if is_well_formed else f"malformed: {case.number}"
    assert request.engine_body(model="m", cache_salt="s").decode()
    return "accepted"


@pytest.mark.parametrize("seed", [1, 2])
def test_validation_raises_only_errors_of_the_catalogue(seed: int) -> None:
    bodies = seeds.seeds()
    cases = (case_of(seed, number, bodies, []) for number in range(CASES))
    outcomes = Counter(_outcome(case) for case in cases if case.method == "POST" and case.path in VALIDATORS)
    assert outcomes.total() > CASES * 0.9
    assert outcomes.keys() <= {*CATALOGUE, "accepted"}
    assert outcomes["accepted"] > CASES / 10
    assert len(outcomes) > 15
