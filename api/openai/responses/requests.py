"""From a parsed body to a checked Responses request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from api.openai.errors.parameters import InvalidJson
from api.openai.responses.input_items import stored_items
from api.openai.responses.items import KNOWN_ITEMS, InputText, OutputText
from api.openai.responses.parameters import REFUSED
from api.openai.responses.response_fields import echo_of
from api.openai.responses.response_request import CheckedResponse
from api.openai.responses.rules import check_response
from api.openai.responses.schema import (
    FunctionTool,
    ReasoningOptions,
    ResponseRequest,
    ResponseStreamOptions,
    TextOptions,
    TextSchemaFormat,
)
from api.openai.responses.translation import chat_fields
from api.openai.validation.sizes import check_sizes
from api.openai.validation.validation_errors import first_validation_error


def check_response_body(body: Any) -> CheckedResponse:
    """Validate a Responses request. Raises ApiError with the first fault.

    What depends on the history is checked by ``CheckedResponse.chat``.
    """
    if not isinstance(body, dict):
        raise InvalidJson(reason="expected an object at the top")
    check_sizes(body, conversation="input")
    fields = _without_nulls(body)
    try:
        request = ResponseRequest.model_validate(fields)
    except ValidationError as error:
        raise first_validation_error(error, REFUSED) from None
    check_response(request)
    checked = _checked(request, fields)
    if request.previous_response_id is None:
        checked.chat()
    return checked


def _checked(request: ResponseRequest, fields: Mapping[str, Any]) -> CheckedResponse:
    sent, positions = chat_fields(request, fields)
    options = request.stream_options
    background = bool(request.background)
    return CheckedResponse(
        model=request.model,
        streamed=request.streamed,
        background=background,
        stored=request.store is not False,
        continues=background or (options is not None and options.on_disconnect == "continue"),
        previous_response_id=request.previous_response_id,
        instructions=request.instructions,
        input=stored_items(request.input),
        metadata=request.metadata or {},
        with_logprobs=request.with_logprobs,
        echo=echo_of(request, fields),
        fields=sent,
        tool_positions=positions,
    )


def _names(prefix: str, *schemas: type[BaseModel]) -> frozenset[str]:
    """Where null is the default: names that are optional in all schemas, and what is refused beside them."""
    fields = [
        (field.alias or name, field.is_required())
        for schema in schemas
        for name, field in schema.model_fields.items()
    ]
    known = {name for name, _ in fields} - {name for name, required in fields if required}
    refused = {path.removeprefix(prefix) for path in REFUSED if path.startswith(prefix)}
    return frozenset(known | {name for name in refused if "." not in name})


# Without its null, what is required is missing.
_TOP = _names("", ResponseRequest) | {"model"}
_NESTED = {
    "text": _names("text.", TextOptions),
    "reasoning": _names("reasoning.", ReasoningOptions),
    "stream_options": _names("stream_options.", ResponseStreamOptions),
}
_FORMAT = _names("text.format.", TextSchemaFormat)
_TOOL = _names("tools[].", FunctionTool)
_ITEM = _names("input[].", *KNOWN_ITEMS)
_PART = _names("input[].content[].", InputText, OutputText)


def _without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = _pruned(body, _TOP)
    for name, names in _NESTED.items():
        if name in fields:
            fields[name] = _pruned(fields[name], names)
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
    if not isinstance(value, dict):
        return value
    return {name: inner for name, inner in value.items() if inner is not None or name not in nullable}
