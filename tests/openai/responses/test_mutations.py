"""Any mutation of a request is rejected with an error of the catalogue, or gives a valid response."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.openai.errors.base import ApiError
from api.openai.responses.events.numbered_events import ResponseAssembly
from api.openai.responses.requests import validate_response_body
from api.openai.responses.response_plan import ResponsePlan
from api.openai.responses.schemas.parameters import BUILT_IN_TOOLS, UNSUPPORTED_ITEMS
from api.openai.responses.schemas.request import LOGPROBS, ResponseRequest
from tests.sdk_validation import parse_item, parse_response

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True, "description": "d"}
FULL: dict[str, Any] = {
    "model": "m",
    "instructions": "be brief",
    "input": [
        {"role": "system", "content": "x"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "s"}],
            "content": [{"type": "reasoning_text", "text": "r"}],
        },
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "b", "annotations": [], "logprobs": []},
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "4"}]},
    ],
    "include": [LOGPROBS],
    "top_logprobs": 2,
    "text": {
        "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
        "verbosity": "medium",
    },
    "reasoning": {"effort": "low"},
    "tools": [TOOL, {**TOOL, "name": "g"}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]},
    "parallel_tool_calls": True,
    "stream": True,
    "stream_options": {"include_obfuscation": False, "on_disconnect": "continue"},
    "metadata": {"a": "b"},
    "temperature": 0.5,
    "max_output_tokens": 5,
    "stop": ["x"],
    "logit_bias": {"5": 1},
    "chat_template_kwargs": {"a": 1},
}
FIELDS = {"type", "role", "id", "content", "output", "call_id", "name", "text", "schema", "mode"}
NAMES = sorted({*ResponseRequest.model_fields, *FIELDS})
WORDS = [
    "message",
    "function",
    "function_call",
    "assistant",
    "user",
    "input_text",
    *UNSUPPORTED_ITEMS,
    *BUILT_IN_TOOLS,
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
keys = st.sampled_from(NAMES) | st.from_regex(r"[a-z_]{1,5}", fullmatch=True)
texts = st.text(max_size=5) | st.sampled_from(WORDS)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Return the paths of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key)
        yield from paths(child, (*path, key))


PATHS = sorted(paths(FULL), key=str)


def mutated(path: tuple[str | int, ...], name: str | None, value: Any) -> dict[str, Any]:
    """Return the full request with the value at a path replaced, or with an additional name beside it."""
    body = copy.deepcopy(FULL)
    holder: Any = body
    for step in path[:-1]:
        holder = holder[step]
    if name is not None and isinstance(holder, dict):
        holder[name] = value
    else:
        holder[path[-1]] = value
    return body


def is_path_in(body: Any, param: str) -> bool:
    """Return whether the path exists in the request; its last step may be missing."""
    *steps, last = re.findall(r"[^.\[\]]+", param)
    for step in steps:
        body = body[int(step)] if isinstance(body, list) else body[step]
    if isinstance(body, list):
        return int(last) < len(body)
    return isinstance(body, dict) and (last in body or last in NAMES)


def outcome_of(body: dict[str, Any]) -> tuple[ResponsePlan | None, ApiError | None]:
    try:
        plan = validate_response_body(body)
        plan.chat()
    except ApiError as error:
        return None, error
    return plan, None


@given(st.sampled_from(PATHS), st.none() | st.sampled_from(NAMES), values)
@example(("model",), None, "m")
@settings(max_examples=600, deadline=None)
def test_a_mutated_request_is_rejected_by_name_or_gives_a_valid_response(
    path: tuple[str | int, ...], name: str | None, value: Any
) -> None:
    body = mutated(path, name, value)
    copied_body = copy.deepcopy(body)
    plan, error = outcome_of(body)
    assert body == copied_body
    if error is not None:
        assert error.status == 400
        assert error.param is None or is_path_in(body, error.param)
        return
    assert plan is not None
    for item in plan.input:
        parse_item(item)
    assembly = ResponseAssembly(plan, response_id="resp_1", created_at=1, model="m")
    parse_response(assembly.snapshot())
