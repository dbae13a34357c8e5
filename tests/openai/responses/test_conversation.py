"""Conversion of items to chat messages, and to their stored form."""

from __future__ import annotations

from typing import Any

import pytest

from api.openai.errors.base import ApiError
from api.openai.errors.parameters import ContextLengthExceeded
from api.openai.responses.events.numbered_events import ResponseAssembly
from api.openai.responses.requests import validate_response_body
from tests.openai.splits import Call, ChatResponse
from tests.sdk_validation import parse_item

Item = dict[str, Any]
Message = dict[str, Any]
USER = {"role": "user", "content": "hi"}
SAID = {"type": "output_text", "text": "a"}


def text(*texts: str, kind: str = "input_text") -> list[Item]:
    return [{"type": kind, "text": each} for each in texts]


def call(call_id: str, name: str = "f", arguments: str = "{}") -> Item:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def output(call_id: str, value: Any = "4") -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def reasoning(*texts: str) -> Item:
    content = [{"type": "reasoning_text", "text": each} for each in texts]
    return {"type": "reasoning", "id": "rs_1", "summary": [], "content": content}


def chat_call(call_id: str, name: str = "f", arguments: str = "{}") -> Message:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def called(*calls: Message, **more: Any) -> Message:
    return {"role": "assistant", "content": None, **more, "tool_calls": list(calls)}


def answered(call_id: str, content: Any = "4") -> Message:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def messages(items: Any, history: list[Item] | None = None, **more: Any) -> list[Message]:
    plan = validate_response_body({"model": "m", "input": items, **more})
    for item in plan.input:
        parse_item(item)
    chat_messages: list[Message] = plan.chat(history or []).fields["messages"]
    return chat_messages


CONVERSIONS: list[tuple[str, Any, list[Message]]] = [
    ("text", "hi", [USER]),
    ("empty text", "", [{"role": "user", "content": ""}]),
    (
        "roles",
        [{"role": role, "content": "x"} for role in ("system", "developer", "user", "assistant")],
        [{"role": role, "content": "x"} for role in ("system", "developer", "user", "assistant")],
    ),
    ("a part", [{"type": "message", "role": "user", "content": text("hi")}], [USER]),
    (
        "several parts",
        [{"role": "user", "content": text("a", "b")}],
        [{"role": "user", "content": text("a", "b", kind="text")}],
    ),
    (
        "an earlier response",
        [{"type": "message", "role": "assistant", "content": [{**SAID, "annotations": [], "logprobs": []}]}],
        [{"role": "assistant", "content": "a"}],
    ),
    (
        "a refusal",
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}],
    ),
    (
        "parallel calls",
        [USER, call("1"), call("2", "g", '{"a":1}'), output("1"), output("2", "5")],
        [USER, called(chat_call("1"), chat_call("2", "g", '{"a":1}')), answered("1"), answered("2", "5")],
    ),
    (
        "calls one after the other",
        [call("1"), output("1"), call("2"), output("2")],
        [called(chat_call("1")), answered("1"), called(chat_call("2")), answered("2")],
    ),
    (
        "a call with text before it",
        [{"role": "assistant", "content": "let me see"}, call("1"), output("1")],
        [called(chat_call("1"), content="let me see"), answered("1")],
    ),
    (
        "text after a call",
        [call("1"), {"role": "assistant", "content": "wait"}, output("1")],
        [called(chat_call("1")), {"role": "assistant", "content": "wait"}, answered("1")],
    ),
    ("an output in parts", [call("1"), output("1", text("4"))], [called(chat_call("1")), answered("1")]),
    (
        "an output in several parts",
        [call("1"), output("1", text("4", "5"))],
        [called(chat_call("1")), answered("1", text("4", "5", kind="text"))],
    ),
    (
        "reasoning before a call",
        [USER, reasoning("a", "b"), call("1"), output("1")],
        [USER, called(chat_call("1"), reasoning="ab"), answered("1")],
    ),
    (
        "reasoning before text",
        [reasoning("a"), {"role": "assistant", "content": "b"}, USER],
        [{"role": "assistant", "content": "b", "reasoning": "a"}, USER],
    ),
    (
        "reasoning between",
        [{"role": "assistant", "content": "b"}, reasoning("a"), call("1"), output("1")],
        [{"role": "assistant", "content": "b"}, called(chat_call("1"), reasoning="a"), answered("1")],
    ),
    (
        "reasoning that led nowhere",
        [reasoning("a"), USER],
        [{"role": "assistant", "content": "", "reasoning": "a"}, USER],
    ),
    ("reasoning without text", [reasoning(), USER], [USER]),
]


@pytest.mark.honours("responses", "input")
@pytest.mark.parametrize(
    ("items", "chat"), [pytest.param(items, chat, id=name) for name, items, chat in CONVERSIONS]
)
def test_items_become_messages(items: Any, chat: list[Message]) -> None:
    assert messages(items) == chat


@pytest.mark.honours("responses", "previous_response_id")
@pytest.mark.parametrize(
    ("items", "chat"), [pytest.param(items, chat, id=name) for name, items, chat in CONVERSIONS]
)
def test_stored_items_become_the_same_messages_in_a_later_request(items: Any, chat: list[Message]) -> None:
    first = validate_response_body({"model": "m", "input": items, "instructions": "in French"})
    more = {"previous_response_id": "resp_1", "instructions": "be brief"}
    chat_messages = messages([{"role": "user", "content": "and?"}], list(first.input), **more)
    # Instructions are those of the last request alone.
    last = {"role": "user", "content": "and?"}
    assert chat_messages == [{"role": "system", "content": "be brief"}, *chat, last]


def test_a_response_returns_to_the_model_unchanged() -> None:
    chat = ChatResponse("Think.", "Hello", (Call("1", "f", "{}"), Call("2", "g", "[]")), "tool_calls")
    first = validate_response_body({"model": "m", "input": "hi"})
    assembly = ResponseAssembly(first, response_id="resp_1", created_at=1, model="m")
    for chunk in chat.chunks([chat.delta()]):
        assembly.add_chunk(chunk)
    assembly.finish()
    output_items = assembly.snapshot()["output"]
    history = [*first.input, *output_items]
    chat_messages = messages([output("1"), output("2", "5")], history, previous_response_id="resp_1")
    assert chat_messages == [USER, chat.message(), answered("1"), answered("2", "5")]
    # A client that keeps the conversation itself sends the items back.
    assert messages([USER, *output_items, output("1"), output("2", "5")]) == chat_messages


def test_items_get_ids_of_their_type_and_keep_existing_ones() -> None:
    items = [
        USER,
        {**USER, "id": "msg_mine"},
        {**reasoning("a"), "id": "rs_mine"},
        {**call("1"), "id": "msg_mine", "status": "incomplete"},
        output("1"),
    ]
    items_with_ids = validate_response_body({"model": "m", "input": items}).input
    ids = [item["id"] for item in items_with_ids]
    assert ids[1:3] == ["msg_mine", "rs_mine"]
    assert [ids[0][:4], ids[3][:3], ids[4][:4]] == ["msg_", "fc_", "fco_"]
    assert len(set(ids)) == len(ids)
    assert [item["status"] for item in items_with_ids] == [*["completed"] * 3, "incomplete", "completed"]
    again = validate_response_body({"model": "m", "input": items}).input
    assert not {ids[0], ids[3], ids[4]} & {item["id"] for item in again}


def test_fields_that_an_sdk_leaves_in_items_are_accepted() -> None:
    extras = {"caller": None, "namespace": None, "status": "completed"}
    items = [
        {**USER, "type": "message", "status": None, "phase": None},
        {"type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary", "content": "a"},
        {**reasoning("a"), "encrypted_content": None, "status": None},
        {**call("1"), "id": "fc_1", **extras, "caller": {"type": "direct"}},
        {**output("1"), "id": None, **extras, "name": "f"},
    ]
    assert messages(items)[-1] == answered("1")
    items_with_ids = validate_response_body({"model": "m", "input": items}).input
    assert (items_with_ids[1]["phase"], items_with_ids[4]["name"]) == ("commentary", "f")
    assert "caller" not in items_with_ids[3]


def test_an_output_requires_a_call_which_may_be_in_the_history() -> None:
    plan = validate_response_body({"model": "m", "input": [output("1")], "previous_response_id": "resp_1"})
    history = validate_response_body({"model": "m", "input": [USER, call("1")]}).input
    assert plan.chat(history).fields["messages"][-1] == answered("1")
    with pytest.raises(ApiError, match="invalid_value") as excinfo:
        plan.chat(history[:1])
    assert excinfo.value.param == "input[0].call_id"


def test_a_request_that_is_too_large_with_its_history_is_rejected() -> None:
    plan = validate_response_body({"model": "m", "input": "hi", "previous_response_id": "resp_1"})
    history = validate_response_body({"model": "m", "input": [USER] * 2048}).input
    with pytest.raises(ApiError, match="array_above_max_length") as excinfo:
        plan.chat(history)
    assert excinfo.value.param == "input"
    deep = [{**call("1", arguments="[" * 65), "id": "fc_1"}]
    with pytest.raises(ApiError, match="invalid_value") as excinfo:
        plan.chat(deep)
    assert excinfo.value.param == "previous_response_id"


def test_a_conversation_can_continue_without_a_new_input() -> None:
    plan = validate_response_body({"model": "m", "previous_response_id": "resp_1"})
    history = validate_response_body({"model": "m", "input": "hi"}).input
    assert plan.input == ()
    assert plan.chat(history).fields["messages"] == [USER]


@pytest.mark.parametrize(
    ("chat", "own"),
    [
        ("messages", "input"),
        ("messages[3].content", "input"),
        ("max_completion_tokens", "max_output_tokens"),
        ("max_tokens", "max_output_tokens"),
        ("response_format", "text.format"),
        ("response_format.json_schema.schema", "text.format.schema"),
        ("reasoning_effort", "reasoning.effort"),
        ("tools[0].function.name", "tools[1].name"),
        ("tool_choice.function.name", "tool_choice.name"),
        ("temperature", "temperature"),
    ],
)
def test_an_error_of_the_engine_names_a_parameter_of_the_responses_request(chat: str, own: str) -> None:
    tools = [{"type": "function", "name": name} for name in ("f", "g")]
    choice = {"type": "allowed_tools", "mode": "auto", "tools": tools[1:]}
    plan = validate_response_body({"model": "m", "input": "hi", "tools": tools, "tool_choice": choice})
    error = plan.translate_error(ContextLengthExceeded(param=chat, limit=5, explanation="a longer prompt"))
    assert (error.param, error.code, error.status) == (own, "context_length_exceeded", 400)
    assert error.message == ContextLengthExceeded(limit=5, explanation="a longer prompt").message
