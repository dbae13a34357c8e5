"""Valid and invalid requests that schemathesis generates from the OpenAPI document."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.openapi_validation import answer_faults
from tests.stack.conftest import OwnedStack
from tests.stack.records import heartbeat, running
from tests.stacks import ROOT, wait_until

SEED = 20261125
# Of each operation, for a thousand of ``--fuzz-cases``.
EXAMPLES_PER_1000 = 15
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
]
LIMITS = {
    "/v1/chat/completions": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/responses": "max_output_tokens",
    "/v1/responses/compact": "max_output_tokens",
}
# Alternatives of which a request needs one; the schema cannot express that.
ALTERNATIVES = {
    "/v1/responses": ("input",),
    "/v1/responses/compact": ("input",),
    "/tokenize": ("prompt", "messages"),
    "/v1/tokenize": ("prompt", "messages"),
}


def _operations() -> list[Any]:
    """Return the operations with input. Authentication is left out: all requests have a valid key."""
    document = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    results = schemathesis.openapi.from_dict(document).get_all_operations()
    operations = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(operations) == sum(len(methods) for methods in document["paths"].values())
    return [each for each in operations if each.body or each.path_parameters or each.query]


def _aimed(path: str, body: Any) -> Any:
    """Name the served model and limit the output, without making the body valid or invalid."""
    if not isinstance(body, dict):
        return body
    body = _whole(body)
    if isinstance(body.get("model"), str) and 1 <= len(body["model"]) <= 256:
        body["model"] = "tiny"
    limit = LIMITS.get(path)
    if limit and (body.get(limit) is None or (type(body[limit]) is int and 2 < body[limit] < 2**31)):
        body[limit] = 2
    alternatives = ALTERNATIVES.get(path, ())
    if alternatives and all(body.get(name) is None for name in alternatives):
        body[alternatives[0]] = "hello"
    return body


def _whole(value: Any) -> Any:
    """Turn 1.0 into 1: an integer in JSON Schema, but not for the gateway."""
    if isinstance(value, dict):
        return {name: _whole(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _changes_on_the_wire(case: schemathesis.Case[Any]) -> bool:
    """Return whether a wrong value may arrive as a right one.

    Every value of a map in the query arrives as a text, and an empty list in a form not at all.
    """
    form = case.body if case.media_type == "multipart/form-data" else None
    has_empty_list = isinstance(form, dict) and [] in form.values()
    return has_empty_list or any(name.startswith("metadata") for name in case.query or ())


def _check(case: schemathesis.Case[Any], answer: Response, *, wrong: bool) -> None:
    checks = [*CHECKS, *([negative_data_rejection] if wrong else [])]
    # schemathesis checks each event against the schema of the whole stream; ``answer_faults`` checks events.
    headers = {name: values[0] for name, values in answer.headers.items()}
    if headers["content-type"] == "application/json":
        checks.append(response_schema_conformance)
    case.validate_response(answer, checks=checks)
    document_faults = answer_faults(case.method, case.path, answer.status_code, headers, answer.content)
    assert document_faults == [], (case.body, answer.text)


def _ask(stack: OwnedStack, operation: Any, mode: GenerationMode, examples: int) -> Counter[str]:
    codes: Counter[str] = Counter()

    @seed(SEED)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: schemathesis.Case[Any]) -> None:
        case.body = _aimed(case.path, case.body)
        answer = case.call(base_url=stack.base_url, session=session, headers=stack.headers(), timeout=60)
        codes[answer.json()["error"]["code"] if answer.status_code >= 400 else "success"] += 1
        _check(case, answer, wrong=mode is GenerationMode.NEGATIVE and not _changes_on_the_wire(case))

    with requests.Session() as session:
        session.trust_env = False
        one()
    return codes


@pytest.mark.criterion("6.6")
def test_responses_to_any_request_match_the_document(ready_stack: OwnedStack, fuzz_cases: int) -> None:
    examples = max(1, EXAMPLES_PER_1000 * fuzz_cases // 1000)
    beat = heartbeat(ready_stack)
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for operation in _operations():
        right += _ask(ready_stack, operation, GenerationMode.POSITIVE, examples)
        # Any text is a valid path parameter.
        if operation.body or operation.query:
            wrong += _ask(ready_stack, operation, GenerationMode.NEGATIVE, examples)
    print(f"right: {right.most_common()}\nwrong: {wrong.most_common()}")
    assert right["success"] > examples
    assert len(right) > 5
    assert wrong.total() > 8 * examples
    assert len(wrong) > 10

    wait_until(lambda: running(ready_stack) == 0, "the engine has nothing left to do")
    after = heartbeat(ready_stack)
    assert beat is not None
    assert after is not None
    assert after.boot == beat.boot
