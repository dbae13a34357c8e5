"""Validation of Responses request bodies: from parsed JSON to a ``ResponsePlan``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from api.openai.responses.chat_parameters import allowed_functions, chat_fields
from api.openai.responses.input_items import stored_items
from api.openai.responses.response_fields import request_echo
from api.openai.responses.response_plan import ResponsePlan
from api.openai.responses.rules import check_response
from api.openai.responses.schemas.request import ResponseRequest
from api.openai.responses.tool_names import OfferedFunction, offered_functions
from api.openai.responses.tool_strictness import with_effective_strict
from api.openai.schemas.policies import names_without_effect, wire_fields
from api.openai.validation.requests import parse_request


def validate_response_body(body: Any) -> ResponsePlan:
    """Validate a Responses request. Raises ApiError for the first fault.

    A conversation with stored parts is validated later, by ``ResponsePlan.chat``.
    """
    request = parse_request(ResponseRequest, body, conversation="input")
    functions = offered_functions(request.tools or ())
    check_response(request, functions)
    plan = _plan(request, wire_fields(request), _with_strict(functions))
    if request.previous_response_id is None and not plan.reference_ids:
        plan.chat()
    return plan


def _with_strict(functions: Sequence[OfferedFunction]) -> tuple[OfferedFunction, ...]:
    tools = with_effective_strict([wire_fields(entry.function) for entry in functions])
    return tuple(
        replace(entry, function=entry.function.model_copy(update={"strict": tool["strict"]}))
        for entry, tool in zip(functions, tools, strict=True)
    )


def _plan(
    request: ResponseRequest, fields: Mapping[str, Any], functions: Sequence[OfferedFunction]
) -> ResponsePlan:
    tools = allowed_functions(request, functions)
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
        echo=request_echo(request, fields, functions),
        chat_fields=chat_fields(request, fields, tools),
        tools=tuple(tools),
        names_without_effect=names_without_effect(request),
        service_tier=request.service_tier,
    )
