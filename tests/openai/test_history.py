"""Messages as SDKs and frameworks send them back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.openai.errors.base import ApiError
from api.openai.responses.requests import validate_response_body
from api.openai.validation.requests import validate_chat_body

USER = {"role": "user", "content": "hi"}
CALL: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
OUTPUT = {"role": "tool", "tool_call_id": "c", "content": "rain"}
EMPTY = {"role": "assistant", "content": ""}
DECORATION: dict[str, Any] = {
    "provider_specific_fields": {"a": [1]},
    "extra": "x",
    "thinking_blocks": [],
    "parsed": None,
}


def messages(*client_items: dict[str, Any]) -> list[Any]:
    """Return the messages that an engine receives."""
    request = validate_chat_body({"model": "m", "messages": [USER, *client_items]})
    return list(json.loads(request.engine_body(model="m", cache_salt="s"))["messages"][1:])


@pytest.mark.case("clients.1")
def test_the_name_of_a_tool_message_reaches_the_template() -> None:
    assert messages(CALLS, {**OUTPUT, "name": "get_weather"})[1] == {**OUTPUT, "name": "get_weather"}


@pytest.mark.case("clients.2")
def test_leftovers_of_streaming_and_parsing_in_calls_are_dropped() -> None:
    function = {**CALL["function"], "parsed_arguments": {"a": 1}}
    assert messages({**CALLS, "tool_calls": [{**CALL, "index": 0, "function": function}]}) == [CALLS]


@pytest.mark.case("clients.3")
@pytest.mark.parametrize(
    ("client_item", "engine_item"),
    [
        ({"role": "assistant", "content": []}, EMPTY),
        ({"role": "assistant", "content": None}, EMPTY),
        ({"role": "assistant"}, EMPTY),
        ({"role": "assistant", "tool_calls": []}, EMPTY),
        ({"role": "assistant", "content": None, "reasoning": "so"}, {**EMPTY, "reasoning": "so"}),
        ({"role": "system", "content": []}, {"role": "system", "content": ""}),
        ({"role": "developer", "content": []}, {"role": "developer", "content": ""}),
        ({"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}, EMPTY),
    ],
)
def test_empty_content_is_a_text(client_item: dict[str, Any], engine_item: dict[str, Any]) -> None:
    assert messages(client_item) == [engine_item]


@pytest.mark.case("clients.3")
@pytest.mark.parametrize("content", [[], None])
def test_an_empty_output_of_a_tool_is_a_text(content: Any) -> None:
    assert messages(CALLS, {**OUTPUT, "content": content})[1] == {**OUTPUT, "content": ""}


@pytest.mark.case("clients.4")
def test_unknown_keys_are_dropped_at_any_depth() -> None:
    part = {"type": "text", "text": "a"}
    call = {**CALL, **DECORATION, "function": {**CALL["function"], **DECORATION}}
    history = [
        {**USER, "content": [{**part, **DECORATION}], **DECORATION},
        {**CALLS, "tool_calls": [call], **DECORATION},
        {**OUTPUT, **DECORATION},
        {"role": "system", "content": [{**part, **DECORATION}], **DECORATION},
    ]
    assert messages(*history) == [
        {**USER, "content": [part]},
        CALLS,
        OUTPUT,
        {"role": "system", "content": [part]},
    ]


@pytest.mark.case("clients.2")
@pytest.mark.parametrize(
    ("arguments", "text"), [({"city": "Zürich"}, '{"city": "Zürich"}'), ({}, "{}"), (None, "{}"), ("", "")]
)
def test_arguments_that_a_client_has_parsed_are_text_again(arguments: Any, text: str) -> None:
    function = {"name": "f", "arguments": arguments}
    expected = {**CALL, "function": {"name": "f", "arguments": text}}
    assert messages({**CALLS, "tool_calls": [{**CALL, "function": function}]})[0]["tool_calls"] == [expected]
    item = {"type": "function_call", "call_id": "c", **function}
    assert items(item)[0]["tool_calls"] == [expected]


@pytest.mark.case("clients.2")
def test_a_call_without_arguments_has_none() -> None:
    (call,) = messages({**CALLS, "tool_calls": [{**CALL, "function": {"name": "f"}}]})[0]["tool_calls"]
    assert call["function"]["arguments"] == "{}"


@pytest.mark.case("clients.4")
@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
@pytest.mark.parametrize("role", ["user", "assistant", "system", "developer"])
def test_text_parts_have_the_type_of_either_api(kind: str, role: str) -> None:
    part = {"type": kind, "text": "a"}
    assert messages({"role": role, "content": [part]}) == [
        {"role": role, "content": [{**part, "type": "text"}]}
    ]
    assert items({"role": role, "content": [part]}) == [{"role": role, "content": "a"}]


def test_a_call_of_a_custom_tool_is_a_function_call_with_its_input() -> None:
    custom = {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}
    function = {"name": "f", "arguments": '{"input": "x"}'}
    assert messages({**CALLS, "tool_calls": [custom]})[0]["tool_calls"] == [{**CALL, "function": function}]


def items(*client_items: dict[str, Any]) -> list[Any]:
    """Return the messages that an engine receives for items."""
    request = validate_response_body({"model": "m", "input": [USER, *client_items]}).chat()
    return list(request.fields["messages"][1:])


@pytest.mark.case("clients.6")
def test_items_of_built_in_tools_do_not_break_the_next_turn() -> None:
    remote: list[dict[str, Any]] = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None, "content": None},
        {"type": "reasoning", "summary": [], "encrypted_content": "opaque"},
        {"type": "mcp_list_tools", "id": "m", "server_label": "s", "tools": []},
    ]
    assert items(*remote) == []
    action = {"type": "exec", "command": ["ls"], "env": {}}
    local: list[dict[str, Any]] = [
        {"type": "local_shell_call", "id": "l", "call_id": "c1", "action": action, "status": "completed"},
        {"type": "local_shell_call_output", "id": "c1", "output": "a.txt"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
    ]
    calls = items(*local)
    assert [message["role"] for message in calls] == ["assistant", "tool", "assistant", "tool"]
    assert calls[0]["tool_calls"][0]["function"] == {"name": "local_shell", "arguments": json.dumps(action)}
    assert (calls[1]["tool_call_id"], calls[1]["content"]) == ("c1", "a.txt")
    assert json.loads(calls[2]["tool_calls"][0]["function"]["arguments"]) == {"input": "*** Begin"}


def test_calls_and_outputs_of_built_in_tools_keep_their_characters_and_do_not_grow() -> None:
    output = {"文件": [0, 0]}
    call, result = items(
        {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "中"},
        {"type": "shell_call_output", "call_id": "c", "output": output},
    )
    assert call["tool_calls"][0]["function"]["arguments"] == '{"input": "中"}'
    assert result["content"] == '{"文件":[0,0]}'
    custom = {"id": "c", "type": "custom", "custom": {"name": "f", "input": "中"}}
    request = validate_chat_body(
        {
            "model": "m",
            "messages": [
                USER,
                {"role": "assistant", "tool_calls": [custom]},
                {"role": "tool", "tool_call_id": "c", "content": "done"},
            ],
        }
    )
    assert request.fields["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"input": "中"}'


@pytest.mark.parametrize("text", [{"a": "\U000e0001"}, [0, None], 1, None])
def test_an_output_whose_texts_are_other_values_reaches_the_model_as_json(text: object) -> None:
    output = [{"type": "input_text", "text": text}]
    *_, result = items(
        {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": ""},
        {"type": "shell_call_output", "call_id": "c", "output": output},
    )
    assert result["content"] == json.dumps(output, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.case("clients.6")
@pytest.mark.parametrize("choice", [{"type": "web_search"}, "required"])
def test_a_tool_that_is_not_offered_can_not_be_forced(choice: Any) -> None:
    with pytest.raises(ApiError) as excinfo:
        validate_response_body(
            {"model": "m", "input": "hi", "tools": [{"type": "web_search"}], "tool_choice": choice}
        )
    assert (excinfo.value.param or "").startswith("tool_choice")
