"""Chat streams become events that the SDK accepts, and the same response at every split."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.openai.errors.base import ApiError
from api.openai.errors.parameters import ContextLengthExceeded
from api.openai.errors.service import WorkerLost
from api.openai.responses.events.numbered_events import ResponseAssembly, encode_event
from api.openai.responses.requests import validate_response_body
from api.openai.responses.schemas.request import LOGPROBS
from inference_worker.protocol import sse
from tests.openai.scripted_service import ScriptedService
from tests.openai.splits import Call, ChatResponse, Delta, chat_responses, cut_at, deltas
from tests.sdk_validation import parse_response, parse_response_event

Event = dict[str, Any]
WEATHER = Call("call_1", "get_weather", '{"city":"Köln"}')
TIME = Call("call_2", "get_time", "{}")
FULL = ChatResponse("Think.", "Héllo", (WEATHER, TIME), "tool_calls")


def new_assembly(**change: Any) -> ResponseAssembly:
    plan = validate_response_body({"model": "m", "input": "hi", "include": [LOGPROBS], **change})
    return ResponseAssembly(plan, response_id="resp_1", created_at=5, model="m", clock=lambda: 9.5)


def assemble(chat: ChatResponse, split: list[Delta]) -> tuple[list[Event], dict[str, Any]]:
    """Return all events of a chat response in these deltas, and the final response."""
    assembly = new_assembly()
    events = assembly.begin()
    for chunk in chat.chunks(split):
        events += assembly.add_chunk(chunk)
    return events + assembly.finish(), assembly.snapshot()


def without_ids(response: dict[str, Any]) -> dict[str, Any]:
    items = [{name: value for name, value in item.items() if name != "id"} for item in response["output"]]
    return {**response, "output": items}


def output_from_deltas(events: list[Event]) -> list[dict[str, Any]]:
    """Return the output that a client assembles from the added items and the deltas alone."""
    items: list[dict[str, Any]] = []
    for event in events:
        event_type = event["type"].removeprefix("response.")
        if event_type == "output_item.added":
            assert event["output_index"] == len(items)
            items.append(dict(event["item"]))
        elif event_type == "content_part.added":
            items[event["output_index"]]["content"] = [dict(event["part"])]
        elif event_type in ("output_text.delta", "reasoning_text.delta"):
            items[event["output_index"]]["content"][event["content_index"]]["text"] += event["delta"]
        elif event_type == "function_call_arguments.delta":
            items[event["output_index"]]["arguments"] += event["delta"]
    return items


def assert_valid_stream(events: list[Event], response: dict[str, Any]) -> None:
    """Assert the invariants of a complete stream."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        parse_response_event(event)
    parse_response(response)
    assert events[-1]["response"] == response
    output = response["output"]
    done_items = {
        event["output_index"]: event["item"] for event in events if event["type"].endswith("item.done")
    }
    assert [done_items[index] for index in range(len(output))] == output
    for suffix in ("output_item.added", "output_item.done"):
        assert sum(event["type"].endswith(suffix) for event in events) == len(output)
    for item, client_item in zip(output, output_from_deltas(events), strict=True):
        assert item["id"] == client_item["id"]
        assert item.get("arguments") == client_item.get("arguments")
        texts = [[part["text"] for part in one.get("content", ())] for one in (item, client_item)]
        assert texts[0] == texts[1]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_split_of_a_chat_response_gives_the_same_response(data: st.DataObject) -> None:
    chat = data.draw(chat_responses)
    events, response = assemble(chat, data.draw(deltas(chat, tidy=False)))
    assert_valid_stream(events, response)
    _, whole = assemble(chat, [chat.delta()])
    assert without_ids(response) == without_ids(whole)


def test_text_and_arguments_survive_every_split() -> None:
    text = '{"a":"é😀"}!'
    chat = ChatResponse("", text, (Call("call_1", "f", text),), "tool_calls")
    call_start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f"}}
    for mask in range(2 ** (len(text) - 1)):
        pieces = cut_at(text, [offset + 1 for offset in range(len(text) - 1) if mask >> offset & 1])
        split: list[Delta] = [{"content": piece} for piece in pieces]
        split.append({"tool_calls": [call_start]})
        split += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
        events, response = assemble(chat, split)
        for event_type in ("output_text", "function_call_arguments"):
            deltas_sent = [
                event["delta"] for event in events if event["type"] == f"response.{event_type}.delta"
            ]
            assert deltas_sent == pieces
        assert response["output"][0]["content"][0]["text"] == text
        assert response["output"][1]["arguments"] == text


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_sdk_assembles_the_same_response(service: ScriptedService, data: st.DataObject) -> None:
    chat = replace(data.draw(chat_responses), finish_reason="stop")
    events, response = assemble(chat, data.draw(deltas(chat, tidy=False)))
    service.body = sse.join_events(encode_event(event) for event in events)
    with service.client.responses.stream(model="m", input="hi") as stream:
        streamed_text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert streamed_text == chat.content == final.output_text
    sdk_fields: dict[str, Any] = {"__all__": {"parsed_arguments": True, "content": {"__all__": {"parsed"}}}}
    assert final.model_dump(mode="json", exclude_unset=True, exclude={"output": sdk_fields}) == response


@pytest.mark.case("clients.25")
def test_events_have_the_order_of_the_api() -> None:
    events, response = assemble(FULL, [FULL.delta()])
    item = ["output_item.added", "content_part.added"]
    done_items = ["content_part.done", "output_item.done"]
    assert [event["type"].removeprefix("response.") for event in events] == [
        *("created", "in_progress"),
        *(*item, "reasoning_text.delta", "reasoning_text.done", *done_items),
        *(*item, "output_text.delta", "output_text.done", *done_items),
        *("output_item.added", "function_call_arguments.delta") * 2,
        *("function_call_arguments.done", "output_item.done") * 2,
        "completed",
    ]
    ends = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [end["name"] for end in ends] == [WEATHER.name, TIME.name]
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", *["function_call"] * 2]
    assert [item["call_id"] for item in response["output"][2:]] == ["call_1", "call_2"]
    assert (response["status"], response["completed_at"]) == ("completed", 9)
    assert events[0]["response"]["output"] == []
    assert events[0]["response"]["status"] == "in_progress"


def test_a_background_response_is_queued_first() -> None:
    assembly = new_assembly(background=True)
    assert assembly.snapshot()["status"] == "queued"
    events = assembly.begin()
    assert [event["type"] for event in events] == [
        *("response.created", "response.queued", "response.in_progress")
    ]
    assert [event["response"]["status"] for event in events] == ["queued", "queued", "in_progress"]
    assert all(parse_response_event(event).response.background for event in events)


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_incomplete_response_names_the_reason_and_the_item(finish_reason: str, reason: str) -> None:
    cut = replace(FULL, calls=(WEATHER, Call("call_2", "get_time", '{"zo')), finish_reason=finish_reason)
    events, response = assemble(cut, [cut.delta()])
    assert_valid_stream(events, response)
    assert events[-1]["type"] == "response.incomplete"
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert response["completed_at"] is None
    assert [item["status"] for item in response["output"]] == [*["completed"] * 3, "incomplete"]
    assert response["output"][3]["arguments"] == '{"zo'


def partial_response() -> tuple[ResponseAssembly, list[Event]]:
    """Return a response in progress, with some text and the start of a call."""
    assembly = new_assembly()
    events = assembly.begin()
    text = replace(FULL, calls=())
    for chunk in text.chunks([text.delta(), {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}])[:2]:
        events += assembly.add_chunk(chunk)
    return assembly, events


@pytest.mark.parametrize(
    ("error", "code"),
    [(WorkerLost(), "server_error"), (ContextLengthExceeded(limit=1, explanation="2"), "invalid_prompt")],
    ids=lambda value: str(value),
)
def test_a_failed_response_keeps_its_output_and_reports_the_error(error: ApiError, code: str) -> None:
    assembly, events = partial_response()
    events += assembly.fail(error)
    response = assembly.snapshot()
    assert_valid_stream(events, response)
    assert (events[-1]["type"], response["status"]) == ("response.failed", "failed")
    assert response["error"]["code"] == code
    assert response["error"]["message"] == error.message
    assert response["output"][1]["content"][0]["text"] == "Héllo"
    assert (response["output"][2]["name"], response["output"][2]["status"]) == ("f", "incomplete")


def test_a_cancelled_response_has_its_own_status_and_no_later_events() -> None:
    assembly, events = partial_response()
    events += assembly.cancel()
    response = assembly.snapshot()
    assert_valid_stream(events, response)
    assert (events[-1]["type"], response["status"]) == ("response.incomplete", "cancelled")
    assert (response["error"], response["incomplete_details"]) == (None, None)
    assert (
        assembly.add_chunk({"choices": [{"delta": {"content": "more"}}]})
        == assembly.finish()
        == assembly.cancel()
        == []
    )
    assert assembly.fail(WorkerLost()) == []
    assert assembly.snapshot() == response


def test_an_intermediate_snapshot_is_valid_and_does_not_change_later() -> None:
    assembly, events = partial_response()
    intermediate = assembly.snapshot()
    all_text = json.dumps([intermediate, events])
    parse_response(intermediate)
    assert [item["status"] for item in intermediate["output"]] == ["completed", "in_progress"]
    assembly.add_chunk({"choices": [{"delta": {"content": "!"}}]})
    assembly.finish()
    assert json.dumps([intermediate, events]) == all_text


def test_an_empty_response_has_an_empty_message() -> None:
    events, response = assemble(ChatResponse("Think.", "", (), "stop"), [{"reasoning": "Think."}])
    assert_valid_stream(events, response)
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert response["output"][1]["content"][0]["text"] == ""


def test_a_call_without_name_and_arguments_is_dropped() -> None:
    events, response = assemble(FULL, [{"content": "a"}, {"tool_calls": [{"index": 0, "id": "call_1"}]}])
    assert_valid_stream(events, response)
    assert [item["type"] for item in response["output"]] == ["message"]


def test_a_call_without_an_id_gets_one() -> None:
    split = [{"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]
    events, response = assemble(FULL, split)
    assert_valid_stream(events, response)
    assert response["output"][0]["call_id"].startswith("call_")


def test_reasoning_is_recognised_under_its_older_name() -> None:
    _, response = assemble(FULL, [{"reasoning_content": "Hm."}, {"content": "a"}, {"reasoning": "So."}])
    assert [item["content"][0]["text"] for item in response["output"]] == ["Hm.", "a", "So."]


def test_log_probabilities_cover_the_text_only_and_are_optional() -> None:
    def entry(token: str) -> dict[str, Any]:
        other = {"token": "x", "logprob": -3.5, "bytes": None}
        return {"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": [other]}

    def chunk(token: str, **delta: Any) -> dict[str, Any]:
        return {"choices": [{"delta": delta, "logprobs": {"content": [entry(token)]}}]}

    stream = [
        *(chunk("<think>"), chunk("hm", reasoning="hm"), chunk("</think>"), chunk("é", content="é")),
        *(chunk("a"), chunk("b", content="ab"), chunk("<end>")),
    ]
    assembly, without_logprobs = new_assembly(), new_assembly(include=[])
    events = assembly.begin()
    for piece in stream:
        events += assembly.add_chunk(piece)
        without_logprobs.add_chunk(piece)
    events += assembly.finish()
    without_logprobs.finish()
    assert_valid_stream(events, assembly.snapshot())
    part = assembly.snapshot()["output"][1]["content"][0]
    assert [logprob["token"] for logprob in part["logprobs"]] == ["é", "a", "b", "<end>"]
    top = [{"token": "x", "bytes": [120], "logprob": -3.5}]
    assert part["logprobs"][0] == {"token": "é", "bytes": [195, 169], "logprob": -0.5, "top_logprobs": top}
    event_logprobs = [event["logprobs"] for event in events if event["type"] == "response.output_text.delta"]
    assert [[logprob["token"] for logprob in logprobs] for logprobs in event_logprobs] == [["é"], ["a", "b"]]
    assert without_logprobs.snapshot()["output"][1]["content"][0]["logprobs"] == []


def test_usage_has_cached_and_reasoning_tokens() -> None:
    assembly = new_assembly()
    usage: dict[str, Any] = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
    usage |= {"prompt_tokens_details": {"cached_tokens": 16, "cache_write_tokens": None}}
    assembly.add_chunk(
        {"choices": [], "usage": {**usage, "completion_tokens_details": {"reasoning_tokens": 5}}}
    )
    assembly.finish()
    assert assembly.snapshot()["usage"] == {
        "input_tokens": 30,
        "input_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 0},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 42,
    }
    parse_response(assembly.snapshot())


def test_an_event_is_two_lines_of_utf8_whatever_it_contains() -> None:
    data = encode_event({"type": "response.output_text.delta", "delta": "a\r\n\n海\u2028\ud83d"}).decode()
    head, body, *rest = data.split("\n")
    assert head == "event: response.output_text.delta"
    assert json.loads(body.removeprefix("data: "))["delta"] == "a\r\n\n海\u2028?"
    assert rest == []
