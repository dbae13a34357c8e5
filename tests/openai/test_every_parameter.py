"""What holds for each parameter of each endpoint, whichever there are: made from the schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from api.openai.errors.base import ApiError
from api.openai.responses.requests import validate_response_body
from api.openai.responses.schema import ResponseRequest
from api.openai.schemas.chat import ChatRequest
from api.openai.schemas.completions import CompletionRequest
from api.openai.schemas.embeddings import EmbeddingRequest
from api.openai.schemas.tokenize import DetokenizeRequest, TokenizeRequest
from api.openai.validation.engine_request import EngineRequest
from api.openai.validation.requests import (
    validate_chat_body,
    validate_completion_body,
    validate_detokenize_body,
    validate_embedding_body,
    validate_tokenize_body,
)

USER = {"role": "user", "content": "hi"}
# A value of each type of JSON that no parameter takes by chance.
VALUES: Mapping[str, Any] = {
    "boolean": True,
    "integer": 7,
    "number": 1.5,
    "string": "x",
    "array": [],
    "object": {},
}


class Endpoint(NamedTuple):
    """``base``: a right request, of what is required alone."""

    name: str
    schema: type[BaseModel]
    check: Callable[[Any], Any]
    base: dict[str, Any]


ENDPOINTS = (
    Endpoint("chat", ChatRequest, validate_chat_body, {"model": "m", "messages": [USER]}),
    Endpoint("completions", CompletionRequest, validate_completion_body, {"model": "m", "prompt": "hi"}),
    Endpoint("embeddings", EmbeddingRequest, validate_embedding_body, {"model": "m", "input": "hi"}),
    Endpoint("tokenize", TokenizeRequest, validate_tokenize_body, {"model": "m", "prompt": "hi"}),
    Endpoint("detokenize", DetokenizeRequest, validate_detokenize_body, {"model": "m", "tokens": [1]}),
    Endpoint("responses", ResponseRequest, validate_response_body, {"model": "m", "input": "hi"}),
)


def _branches(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas of which a value may follow one, without those that stand for others."""
    if "$ref" in schema:
        yield from _branches(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    elif inner := schema.get("anyOf") or schema.get("oneOf"):
        for branch in inner:
            yield from _branches(branch, definitions)
    else:
        yield schema


class Parameter(NamedTuple):
    """A parameter of an endpoint, and what its schema allows; null is left out."""

    endpoint: Endpoint
    name: str
    branches: tuple[Mapping[str, Any], ...]

    @property
    def types(self) -> set[str]:
        """The types of JSON that it takes; an integer is a number."""
        found = {str(branch["type"]) for branch in self.branches if "type" in branch}
        found |= {"string" for branch in self.branches if "enum" in branch or "const" in branch}
        return found | ({"integer"} if "number" in found else set())

    def code(self, value: Any) -> tuple[str, str | None] | None:
        """Code and ``param`` of the refusal of a value; None if it is taken."""
        try:
            self.endpoint.check({**self.endpoint.base, self.name: value})
        except ApiError as error:
            return error.code, error.param
        return None


def _parameters() -> Iterator[Parameter]:
    for endpoint in ENDPOINTS:
        schema = endpoint.schema.model_json_schema()
        for name, field in schema["properties"].items():
            branches = tuple(b for b in _branches(field, schema.get("$defs", {})) if b.get("type") != "null")
            yield Parameter(endpoint, name, branches)


PARAMETERS = tuple(_parameters())
EACH = pytest.mark.parametrize("given", PARAMETERS, ids=lambda given: f"{given.endpoint.name}-{given.name}")


def _sent(checked: Any) -> tuple[Any, bytes]:
    """What becomes of a request: what the gateway does with it, and what an engine is given."""
    if isinstance(checked, EngineRequest):
        return checked, checked.engine_body(model="m", cache_salt="s")
    chat = checked.chat()
    kept = (
        checked.is_streamed,
        checked.is_background,
        checked.is_stored,
        checked.instructions,
        checked.metadata,
    )
    return kept, chat.engine_body(model="m", cache_salt="s")


def test_there_are_as_many_parameters_as_one_expects() -> None:
    assert len(PARAMETERS) > 120
    assert len({given.endpoint.name for given in PARAMETERS}) == len(ENDPOINTS)


@pytest.mark.criterion("1.1")
@EACH
def test_null_is_the_same_as_leaving_it_out(given: Parameter) -> None:
    endpoint = given.endpoint
    without = {name: value for name, value in endpoint.base.items() if name != given.name}
    if given.name in endpoint.base:
        assert given.code(None) == ("missing_required_parameter", given.name)
        with pytest.raises(ApiError, match="missing_required_parameter"):
            endpoint.check(without)
    else:
        assert _sent(endpoint.check({**without, given.name: None})) == _sent(endpoint.check(without))


@pytest.mark.criterion("1.7")
@EACH
def test_a_wrong_type_is_named(given: Parameter) -> None:
    assert given.types
    only_words = all("enum" in branch or "const" in branch for branch in given.branches)
    code = "invalid_value" if only_words else "invalid_type"
    wrong = VALUES.keys() - given.types
    assert len(wrong) >= 3
    assert {kind: given.code(VALUES[kind]) for kind in wrong} == dict.fromkeys(wrong, (code, given.name))


def _beyond(branch: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """Values just outside of a branch's bounds, and the codes of their refusals."""
    kind = {"integer": "integer", "number": "decimal"}.get(str(branch.get("type")), "")
    step = 1 if kind == "integer" else 0.001
    if "minimum" in branch:
        yield branch["minimum"] - step, f"{kind}_below_min_value"
        yield -(10**30), f"{kind}_below_min_value"
    if "maximum" in branch:
        yield branch["maximum"] + max(step, abs(branch["maximum"]) * 1e-9 * (kind == "decimal")), ""
        yield 10**400, f"{kind}_above_max_value"
    if branch.get("minLength"):
        yield "", "string_below_min_length"
    if "maxLength" in branch:
        yield "x" * (branch["maxLength"] + 1), "string_above_max_length"
    if branch.get("minItems"):
        yield [], "empty_array"


BOUNDED = [
    pytest.param(given, value, code, id=f"{given.endpoint.name}-{given.name}-{number}")
    for given in PARAMETERS
    for number, (value, code) in enumerate(pair for branch in given.branches for pair in _beyond(branch))
]


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize(("given", "value", "code"), BOUNDED)
def test_what_is_just_beyond_a_bound_is_refused_as_that(given: Parameter, value: Any, code: str) -> None:
    found = given.code(value)
    assert found is not None
    assert found[1] == given.name
    assert found[0] == code or (not code and found[0].endswith("_above_max_value"))


def test_bounds_are_looked_at() -> None:
    assert len(BOUNDED) > 100
