"""Validation of Responses request bodies: from parsed JSON to a ``ResponsePlan``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from api.openai.errors.parameters import InvalidJson
from api.openai.responses.chat_parameters import chat_fields
from api.openai.responses.input_items import stored_items
from api.openai.responses.response_fields import request_echo
from api.openai.responses.response_plan import ResponsePlan
from api.openai.responses.rules import check_response
from api.openai.responses.schemas.items import VALID_ITEMS, InputText, OutputText
from api.openai.responses.schemas.parameters import UNSUPPORTED_RESPONSES
from api.openai.responses.schemas.request import (
    FunctionTool,
    ReasoningOptions,
    ResponseRequest,
    ResponseStreamOptions,
    TextOptions,
    TextSchemaFormat,
)
from api.openai.validation.sizes import check_sizes
from api.openai.validation.validation_errors import first_validation_error


def validate_response_body(body: Any) -> ResponsePlan:
    """Validate a Responses request. Raises ApiError for the first fault.

    With a previous response, the conversation is validated later, by ``ResponsePlan.chat``.
    """
    if not isinstance(body, dict):
        raise InvalidJson(reason="expected an object at the top level")
    check_sizes(body, conversation="input")
    fields = _without_nulls(body)
    try:
        request = ResponseRequest.model_validate(fields)
    except ValidationError as error:
        raise first_validation_error(error, UNSUPPORTED_RESPONSES) from None
    check_response(request)
    plan = _plan(request, fields)
    if request.previous_response_id is None:
        plan.chat()
    return plan


def _plan(request: ResponseRequest, fields: Mapping[str, Any]) -> ResponsePlan:
    chat, tool_positions = chat_fields(request, fields)
    options = request.stream_options
    is_background = bool(request.background)
    return ResponsePlan(
        model=request.model,
        is_streamed=request.is_streamed,
        is_background=is_background,
        is_stored=request.store is not False,
        outlives_client=is_background or (options is not None and options.on_disconnect == "continue"),
        previous_response_id=request.previous_response_id,
        instructions=request.instructions,
        input=stored_items(request.input),
        metadata=request.metadata or {},
        has_logprobs=request.has_logprobs,
        echo=request_echo(request, fields),
        chat_fields=chat,
        tool_positions=tool_positions,
    )


def _nullable_names(prefix: str, *schemas: type[BaseModel]) -> frozenset[str]:
    """Return the names for which null means the default: optional in all schemas, or unsupported."""
    fields = [
        (field.alias or name, field.is_required())
        for schema in schemas
        for name, field in schema.model_fields.items()
    ]
    optional = {name for name, _ in fields} - {name for name, is_required in fields if is_required}
    unsupported = {path.removeprefix(prefix) for path in UNSUPPORTED_RESPONSES if path.startswith(prefix)}
    return frozenset(optional | {name for name in unsupported if "." not in name})


# A null model counts as missing.
_TOP_LEVEL = _nullable_names("", ResponseRequest) | {"model"}
_NESTED = {
    "text": _nullable_names("text.", TextOptions),
    "reasoning": _nullable_names("reasoning.", ReasoningOptions),
    "stream_options": _nullable_names("stream_options.", ResponseStreamOptions),
}
_FORMAT = _nullable_names("text.format.", TextSchemaFormat)
_TOOL = _nullable_names("tools[].", FunctionTool)
_ITEM = _nullable_names("input[].", *VALID_ITEMS)
_PART = _nullable_names("input[].content[].", InputText, OutputText)


def _without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = _pruned(body, _TOP_LEVEL)
    for name, nullable in _NESTED.items():
        if name in fields:
            fields[name] = _pruned(fields[name], nullable)
    if isinstance(text := fields.get("text"), dict) and "format" in text:
        fields["text"] = {**text, "format": _pruned(text["format"], _FORMAT)}
    if isinstance(fields.get("tools"), list):
        fields["tools"] = [_pruned(tool, _TOOL) for tool in fields["tools"]]
    if isinstance(fields.get("input"), list):
        fields["input"] = [_pruned_item(item) for item in fields["input"]]
    return fields


def _pruned_item(item: Any) -> Any:
    item = _pruned(item, _ITEM)
    for name in ("content", "output"):
        if isinstance(item, dict) and isinstance(item.get(name), list):
            item = {**item, name: [_pruned(part, _PART) for part in item[name]]}
    return item


def _pruned(value: Any, nullable: frozenset[str]) -> Any:
    """Return an object without its null fields; other values are returned as they are."""
    if not isinstance(value, dict):
        return value
    return {name: inner for name, inner in value.items() if inner is not None or name not in nullable}
