"""Constraints in requests: checked before the engine compiles them, and named in its errors."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import msgspec

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.engine_call import current_call
from inference_worker.runtime.constraints.grammar_schemas import without_annotations

# Keywords that vLLM rejects in a schema (has_xgrammar_unsupported_json_features), some only in combinations.
UNSUPPORTED_KEYWORDS = (
    *("multipleOf", "uniqueItems", "contains", "minContains", "maxContains", "allOf", "propertyNames"),
    *("patternProperties", "format", "pattern"),
)

Outputs: TypeAlias = AsyncGenerator[Any, None]
CheckConstraint = Callable[[str, str], Awaitable[str]]
"""Takes the kind of a constraint and its text. Returns the reason to reject it, or an empty string."""


def check_constraints(
    generate: Callable[..., Outputs], check: CheckConstraint | None
) -> Callable[..., Outputs]:
    """Wrap ``AsyncLLM.generate`` to check constraints first.

    Errors about a constraint, from the check or the engine, get the name of the parameter that holds it.
    """

    def generate_checked(prompt: Any, params: Any, *args: Any, **kwargs: Any) -> Outputs:
        constraint = getattr(params, "structured_outputs", None)
        if constraint is None:
            return generate(prompt, params, *args, **kwargs)
        _remove_annotations(constraint)
        call = current_call.get()
        if call is not None and call.submit.operation is Operation.COMPLETIONS:
            # vLLM would wait for the end of reasoning, which it does not parse in completions.
            kwargs["reasoning_ended"] = True
        return _checked_outputs(lambda: generate(prompt, params, *args, **kwargs), constraint, check)

    return generate_checked


async def _checked_outputs(
    start: Callable[[], Outputs], constraint: Any, check: CheckConstraint | None
) -> Outputs:
    from vllm.exceptions import VLLMValidationError

    call = current_call.get()
    param = constraint_param(call.submit.body) if call is not None else None
    try:
        if check is not None and (reason := await check(*_kind_and_text(constraint))):
            raise VLLMValidationError(reason, parameter=param)
        async with aclosing(start()) as outputs:
            async for output in outputs:
                yield output
    except (ValueError, VLLMValidationError) as error:
        if getattr(error, "parameter", None) is not None:
            raise
        raise VLLMValidationError(_one_line(error, constraint), parameter=param) from error


def _remove_annotations(constraint: Any) -> None:
    schema = constraint.json
    if schema is not None:
        schema = json.loads(schema) if isinstance(schema, str) else schema
        # As a string, because vLLM takes an empty schema for a missing one.
        constraint.json = json.dumps(without_annotations(schema))


def _one_line(error: Exception, constraint: Any) -> str:
    line = next(iter(str(error).strip().splitlines()), "the engine can't compile it")
    if "not supported by xgrammar" not in line:
        return line
    text = _kind_and_text(constraint)[1]
    keywords = [keyword for keyword in UNSUPPORTED_KEYWORDS if f'"{keyword}"' in text]
    return f"the engine does not support this use of {', '.join(keywords)}"


def _kind_and_text(constraint: Any) -> tuple[str, str]:
    from vllm.v1.structured_output.request import get_structured_output_key

    kind, text = get_structured_output_key(constraint)
    return kind.name.lower(), text


def constraint_param(body: bytes) -> str | None:
    """Return the request parameter that constrains the response, or None."""
    try:
        request: dict[str, Any] = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return None
    choice = request.get("tool_choice")
    if request.get("tools") and (choice == "required" or isinstance(choice, dict)):
        return "tools"
    if outputs := request.get("structured_outputs"):
        return f"structured_outputs.{next(iter(outputs))}"
    if response_format := request.get("response_format"):
        is_schema = response_format.get("type") == "json_schema"
        return "response_format.json_schema.schema" if is_schema else "response_format"
    return "tools" if request.get("tools") else None
