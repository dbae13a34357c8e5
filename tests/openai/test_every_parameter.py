"""Properties of every parameter of every endpoint, derived from the schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from api.openai.errors.base import ApiError
from api.openai.responses.requests import validate_response_body
from api.openai.responses.schemas.request import ResponseRequest
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
# A value of each JSON type that no parameter accepts by chance.
VALUES: Mapping[str, Any] = {
    "boolean": True,
    "integer": 7,
    "number": 1.5,
    "string": "x",
    "array": [],
    "object": {},
}


class Endpoint(NamedTuple):
    """An endpoint with ``base``, a valid request of required parameters only."""

    name: str
    schema: type[BaseModel]
    validate: Callable[[Any], Any]
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
    """Return the alternatives of a schema, with references resolved."""
    if "$ref" in schema:
        yield from _branches(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    elif inner := schema.get("anyOf") or schema.get("oneOf"):
        for branch in inner:
            yield from _branches(branch, definitions)
    else:
        yield schema


class Parameter(NamedTuple):
    """A parameter of an endpoint, with the alternatives of its schema except null."""

    endpoint: Endpoint
    name: str
    branches: tuple[Mapping[str, Any], ...]

    @property
    def types(self) -> set[str]:
        """The JSON types that it accepts; an integer is a number."""
        types = {str(branch["type"]) for branch in self.branches if "type" in branch}
        types |= {"string" for branch in self.branches if "enum" in branch or "const" in branch}
        return types | ({"integer"} if "number" in types else set())

    def error_for(self, value: Any) -> tuple[str, str | None] | None:
        """Return code and ``param`` of the error for a value; None if it is accepted."""
        try:
            self.endpoint.validate({**self.endpoint.base, self.name: value})
        except ApiError as error:
            return error.code, error.param
        return None


def _parameters() -> Iterator[Parameter]:
    for endpoint in ENDPOINTS:
        schema = endpoint.schema.model_json_schema()
        for name, field in schema["properties"].items():
            branches = tuple(b for b in _branches(field, schema.get("$defs", {})) if b.get("type") != "null")
            if not branches:
                continue  # refused, tested elsewhere
            yield Parameter(endpoint, name, branches)


PARAMETERS = tuple(_parameters())
EACH = pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda each: f"{each.endpoint.name}-{each.name}")


def _forwarded(request: Any) -> tuple[Any, bytes]:
    """Return the options for the gateway, and the body for the engine."""
    if isinstance(request, EngineRequest):
        return request, request.engine_body(model="m", cache_salt="s")
    chat = request.chat()
    options = (
        request.is_streamed,
        request.is_background,
        request.is_stored,
        request.instructions,
        request.metadata,
    )
    return options, chat.engine_body(model="m", cache_salt="s")


def test_all_endpoints_have_parameters_to_test() -> None:
    assert len(PARAMETERS) > 120
    assert len({parameter.endpoint.name for parameter in PARAMETERS}) == len(ENDPOINTS)


@pytest.mark.criterion("1.1")
@EACH
def test_null_is_the_same_as_an_absent_parameter(parameter: Parameter) -> None:
    endpoint = parameter.endpoint
    without = {name: value for name, value in endpoint.base.items() if name != parameter.name}
    if parameter.name in endpoint.base:
        assert parameter.error_for(None) == ("missing_required_parameter", parameter.name)
        with pytest.raises(ApiError, match="missing_required_parameter"):
            endpoint.validate(without)
    else:
        with_null = endpoint.validate({**without, parameter.name: None})
        assert _forwarded(with_null) == _forwarded(endpoint.validate(without))


@pytest.mark.criterion("1.7")
@EACH
def test_a_wrong_type_is_reported(parameter: Parameter) -> None:
    assert parameter.types
    is_enumeration = all("enum" in branch or "const" in branch for branch in parameter.branches)
    code = "invalid_value" if is_enumeration else "invalid_type"
    wrong = VALUES.keys() - parameter.types
    assert len(wrong) >= 3
    errors = {json_type: parameter.error_for(VALUES[json_type]) for json_type in wrong}
    assert errors == dict.fromkeys(wrong, (code, parameter.name))


def _beyond(branch: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """Return values just outside of the bounds of an alternative, with the codes of their errors."""
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
    pytest.param(parameter, value, code, id=f"{parameter.endpoint.name}-{parameter.name}-{number}")
    for parameter in PARAMETERS
    for number, (value, code) in enumerate(pair for branch in parameter.branches for pair in _beyond(branch))
]


@pytest.mark.criterion("1.7")
@pytest.mark.parametrize(("parameter", "value", "code"), BOUNDED)
def test_a_value_just_beyond_a_bound_is_rejected_with_the_bounds_code(
    parameter: Parameter, value: Any, code: str
) -> None:
    error = parameter.error_for(value)
    assert error is not None
    assert error[1] == parameter.name
    assert error[0] == code or (not code and error[0].endswith("_above_max_value"))


def test_there_are_bounds_to_test() -> None:
    assert len(BOUNDED) > 100
