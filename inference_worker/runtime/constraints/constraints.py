"""What an answer is constrained to: tried before the engine has to compile it, and named in its errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import msgspec

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.engine_call import current_submit

# What vLLM refuses in a schema (has_xgrammar_unsupported_json_features), some of it in combinations only.
UNSUPPORTED = (
    *("multipleOf", "uniqueItems", "contains", "minContains", "maxContains", "allOf", "propertyNames"),
    *("patternProperties", "format", "pattern"),
)

Outputs: TypeAlias = AsyncGenerator[Any, None]
CheckConstraint = Callable[[str, str], Awaitable[str]]
"""Takes the kind of a constraint and its text; gives why it is refused, or an empty string."""


def constrained(generate: Callable[..., Outputs], check: CheckConstraint | None) -> Callable[..., Outputs]:
    """Wrap ``AsyncLLM.generate``: constraints are checked first, and what the engine says against one is
    given the name of the parameter that holds it.
    """

    def generate_checked(prompt: Any, params: Any, *args: Any, **kwargs: Any) -> Outputs:
        asked = getattr(params, "structured_outputs", None)
        if asked is None:
            return generate(prompt, params, *args, **kwargs)
        submit = current_submit.get()
        if submit is not None and submit.operation is Operation.COMPLETIONS:
            # vLLM would wait for the end of a reasoning that completions are not read for.
            kwargs["reasoning_ended"] = True
        return _named(lambda: generate(prompt, params, *args, **kwargs), asked, check)

    return generate_checked


async def _named(begin: Callable[[], Outputs], asked: Any, check: CheckConstraint | None) -> Outputs:
    from vllm.exceptions import VLLMValidationError

    submit = current_submit.get()
    param = constraint_param(submit.body) if submit is not None else None
    try:
        if check is not None and (why := await check(*_kind_and_text(asked))):
            raise VLLMValidationError(why, parameter=param)
        async with aclosing(begin()) as outputs:
            async for output in outputs:
                yield output
    except (ValueError, VLLMValidationError) as error:
        if getattr(error, "parameter", None) is not None:
            raise
        raise VLLMValidationError(_in_one_line(error, asked), parameter=param) from error


def _in_one_line(error: Exception, asked: Any) -> str:
    line = next(iter(str(error).strip().splitlines()), "the engine can't compile it")
    if "not supported by xgrammar" not in line:
        return line
    text = _kind_and_text(asked)[1]
    named = [keyword for keyword in UNSUPPORTED if f'"{keyword}"' in text]
    return f"the engine does not support what it says with {', '.join(named)}"


def _kind_and_text(asked: Any) -> tuple[str, str]:
    from vllm.v1.structured_output.request import get_structured_output_key

    kind, text = get_structured_output_key(asked)
    return kind.name.lower(), text


def constraint_param(body: bytes) -> str | None:
    """The parameter of a request that constrains the answer; None if none does."""
    try:
        request: dict[str, Any] = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return None
    choice = request.get("tool_choice")
    if request.get("tools") and (choice == "required" or isinstance(choice, dict)):
        return "tools"
    if outputs := request.get("structured_outputs"):
        return f"structured_outputs.{next(iter(outputs))}"
    if answer := request.get("response_format"):
        named = answer.get("type") == "json_schema"
        return "response_format.json_schema.schema" if named else "response_format"
    return "tools" if request.get("tools") else None
