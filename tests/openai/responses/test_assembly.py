"""Chat streams to events: every event as the SDK knows it, and the same answer at every split."""

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
from api.openai.responses.assembly import ResponseAssembly, encode_event
from api.openai.responses.requests import validate_response_body
from api.openai.responses.schema import LOGPROBS
from tests.openai.answering import Service
from tests.openai.responses.strict import checked_event, checked_response
from tests.openai.splits import Answer, Call, Delta, answers, cut_at, deltas

Event = dict[str, Any]
WEATHER = Call("call_1", "get_weather", '{"city":"Köln"}')
TIME = Call("call_2", "get_time", "{}")
FULL = Answer("Think.", "Héllo", (WEATHER, TIME), "tool_calls")


def assembly(**change: Any) -> ResponseAssembly:
    checked = validate_response_body({"model": "m", "input": "hi", "include": [LOGPROBS], **change})
    return ResponseAssembly(checked, response_id="resp_1", created_at=5, model="m", clock=lambda: 9.5)


def assembled(answer: Answer, given: list[Delta]) -> tuple[list[Event], dict[str, Any]]:
    """All events of an answer in these deltas, and the response in the end."""
    made = assembly()
    events = made.begin()
    for chunk in answer.chunks(given):
        events += made.add_chunk(chunk)
    return events + made.finish(), made.snapshot()


def without_ids(response: dict[str, Any]) -> dict[str, Any]:
    items = [{name: value for name, value in item.items() if name != "id"} for item in response["output"]]
    return {**response, "output": items}


def reread(events: list[Event]) -> list[dict[str, Any]]:
    """The output as a client puts it together from what was added and the deltas alone."""
    items: list[dict[str, Any]] = []
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert event["output_index"] == len(items)
            items.append(dict(event["item"]))
        elif kind == "content_part.added":
            items[event["output_index"]]["content"] = [dict(event["part"])]
        elif kind in ("output_text.delta", "reasoning_text.delta"):
            items[event["output_index"]]["content"][event["content_index"]]["text"] += event["delta"]
        elif kind == "function_call_arguments.delta":
            items[event["output_index"]]["arguments"] += event["delta"]
    return items


def check_stream(events: list[Event], response: dict[str, Any]) -> None:
    """What holds for every stream that has ended."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        checked_event(event)
    checked_response(response)
    assert events[-1]["response"] == response
    output = response["output"]
    done = {event["output_index"]: event["item"] for event in events if event["type"].endswith("item.done")}
    assert [done[index] for index in range(len(output))] == output
    for suffix in ("output_item.added", "output_item.done"):
        assert sum(event["type"].endswith(suffix) for event in events) == len(output)
    for item, told in zip(output, reread(events), strict=True):
        assert item["id"] == told["id"]
        assert item.get("arguments") == told.get("arguments")
        texts = [[part["text"] for part in one.get("content", ())] for one in (item, told)]
        assert texts[0] == texts[1]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_split_of_an_answer_gives_the_same_response(data: st.DataObject) -> None:
    answer = data.draw(answers)
    events, response = assembled(answer, data.draw(deltas(answer, tidy=False)))
    check_stream(events, response)
    _, whole = assembled(answer, [answer.delta()])
    assert without_ids(response) == without_ids(whole)


def test_text_and_arguments_are_the_same_at_each_of_all_their_splits() -> None:
    text = '{"a":"é😀"}!'
    answer = Answer("", text, (Call("call_1", "f", text),), "tool_calls")
    begun = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f"}}
    for mask in range(2 ** (len(text) - 1)):
        pieces = cut_at(text, [place + 1 for place in range(len(text) - 1) if mask >> place & 1])
        given: list[Delta] = [{"content": piece} for piece in pieces]
        given.append({"tool_calls": [begun]})
        given += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
        events, response = assembled(answer, given)
        for kind in ("output_text", "function_call_arguments"):
            told = [event["delta"] for event in events if event["type"] == f"response.{kind}.delta"]
            assert told == pieces
        assert response["output"][0]["content"][0]["text"] == text
        assert response["output"][1]["arguments"] == text


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_sdk_puts_the_same_response_together(service: Service, data: st.DataObject) -> None:
    answer = replace(data.draw(answers), finish_reason="stop")
    events, response = assembled(answer, data.draw(deltas(answer, tidy=False)))
    service.body = b"".join(encode_event(event) for event in events)
    with service.client.responses.stream(model="m", input="hi") as stream:
        told = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert told == answer.content == final.output_text
    parsed: dict[str, Any] = {"__all__": {"parsed_arguments": True, "content": {"__all__": {"parsed"}}}}
    assert final.model_dump(mode="json", exclude_unset=True, exclude={"output": parsed}) == response


def test_events_come_in_the_order_of_the_api() -> None:
    events, response = assembled(FULL, [FULL.delta()])
    item = ["output_item.added", "content_part.added"]
    done = ["content_part.done", "output_item.done"]
    assert [event["type"].removeprefix("response.") for event in events] == [
        *("created", "in_progress"),
        *(*item, "reasoning_text.delta", "reasoning_text.done", *done),
        *(*item, "output_text.delta", "output_text.done", *done),
        *("output_item.added", "function_call_arguments.delta") * 2,
        *("function_call_arguments.done", "output_item.done") * 2,
        "completed",
    ]
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", *["function_call"] * 2]
    assert [item["call_id"] for item in response["output"][2:]] == ["call_1", "call_2"]
    assert (response["status"], response["completed_at"]) == ("completed", 9)
    assert events[0]["response"]["output"] == []
    assert events[0]["response"]["status"] == "in_progress"


def test_what_runs_in_the_background_is_queued_first() -> None:
    made = assembly(background=True)
    assert made.snapshot()["status"] == "queued"
    events = made.begin()
    assert [event["type"] for event in events] == [
        *("response.created", "response.queued", "response.in_progress")
    ]
    assert [event["response"]["status"] for event in events] == ["queued", "queued", "in_progress"]
    assert all(checked_event(event).response.background for event in events)


@pytest.mark.parametrize(
    ("finish_reason", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_an_answer_that_was_stopped_short_says_why_and_where(finish_reason: str, reason: str) -> None:
    cut = replace(FULL, calls=(WEATHER, Call("call_2", "get_time", '{"zo')), finish_reason=finish_reason)
    events, response = assembled(cut, [cut.delta()])
    check_stream(events, response)
    assert events[-1]["type"] == "response.incomplete"
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert response["completed_at"] is None
    assert [item["status"] for item in response["output"]] == [*["completed"] * 3, "incomplete"]
    assert response["output"][3]["arguments"] == '{"zo'


def begun() -> tuple[ResponseAssembly, list[Event]]:
    """A response with some text and the beginning of a call."""
    made = assembly()
    events = made.begin()
    text = replace(FULL, calls=())
    for chunk in text.chunks([text.delta(), {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}])[:2]:
        events += made.add_chunk(chunk)
    return made, events


@pytest.mark.parametrize(
    ("error", "code"),
    [(WorkerLost(), "server_error"), (ContextLengthExceeded(limit=1, explanation="2"), "invalid_prompt")],
    ids=lambda value: str(value),
)
def test_a_failure_keeps_what_there_was_and_says_what_happened(error: ApiError, code: str) -> None:
    made, events = begun()
    events += made.fail(error)
    response = made.snapshot()
    check_stream(events, response)
    assert (events[-1]["type"], response["status"]) == ("response.failed", "failed")
    assert response["error"]["code"] == code
    assert response["error"]["message"] == error.message
    assert response["output"][1]["content"][0]["text"] == "Héllo"
    assert (response["output"][2]["name"], response["output"][2]["status"]) == ("f", "incomplete")


def test_a_cancelled_response_has_its_own_status_and_no_later_events() -> None:
    made, events = begun()
    events += made.cancel()
    response = made.snapshot()
    check_stream(events, response)
    assert (events[-1]["type"], response["status"]) == ("response.incomplete", "cancelled")
    assert (response["error"], response["incomplete_details"]) == (None, None)
    assert (
        made.add_chunk({"choices": [{"delta": {"content": "more"}}]}) == made.finish() == made.cancel() == []
    )
    assert made.fail(WorkerLost()) == []
    assert made.snapshot() == response


def test_a_snapshot_in_between_is_a_valid_response_that_does_not_change_later() -> None:
    made, events = begun()
    between = made.snapshot()
    kept = json.dumps([between, events])
    checked_response(between)
    assert [item["status"] for item in between["output"]] == ["completed", "in_progress"]
    made.add_chunk({"choices": [{"delta": {"content": "!"}}]})
    made.finish()
    assert json.dumps([between, events]) == kept


def test_an_empty_answer_has_an_empty_message() -> None:
    events, response = assembled(Answer("Think.", "", (), "stop"), [{"reasoning": "Think."}])
    check_stream(events, response)
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert response["output"][1]["content"][0]["text"] == ""


def test_a_call_of_which_nothing_came_is_none() -> None:
    events, response = assembled(FULL, [{"content": "a"}, {"tool_calls": [{"index": 0, "id": "call_1"}]}])
    check_stream(events, response)
    assert [item["type"] for item in response["output"]] == ["message"]


def test_a_call_that_was_given_no_id_gets_one() -> None:
    given = [{"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]
    events, response = assembled(FULL, given)
    check_stream(events, response)
    assert response["output"][0]["call_id"].startswith("call_")


def test_reasoning_under_its_older_name_is_reasoning() -> None:
    _, response = assembled(FULL, [{"reasoning_content": "Hm."}, {"content": "a"}, {"reasoning": "So."}])
    assert [item["content"][0]["text"] for item in response["output"]] == ["Hm.", "a", "So."]


def test_log_probabilities_are_given_for_the_text_alone_and_only_if_asked_for() -> None:
    def entry(token: str) -> dict[str, Any]:
        other = {"token": "x", "logprob": -3.5, "bytes": None}
        return {"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": [other]}

    def chunk(token: str, **delta: Any) -> dict[str, Any]:
        return {"choices": [{"delta": delta, "logprobs": {"content": [entry(token)]}}]}

    stream = [
        *(chunk("<think>"), chunk("hm", reasoning="hm"), chunk("</think>"), chunk("é", content="é")),
        *(chunk("a"), chunk("b", content="ab"), chunk("<end>")),
    ]
    made, silent = assembly(), assembly(include=[])
    events = made.begin()
    for piece in stream:
        events += made.add_chunk(piece)
        silent.add_chunk(piece)
    events += made.finish()
    silent.finish()
    check_stream(events, made.snapshot())
    part = made.snapshot()["output"][1]["content"][0]
    assert [logprob["token"] for logprob in part["logprobs"]] == ["é", "a", "b", "<end>"]
    top = [{"token": "x", "bytes": [120], "logprob": -3.5}]
    assert part["logprobs"][0] == {"token": "é", "bytes": [195, 169], "logprob": -0.5, "top_logprobs": top}
    told = [event["logprobs"] for event in events if event["type"] == "response.output_text.delta"]
    assert [[logprob["token"] for logprob in logprobs] for logprobs in told] == [["é"], ["a", "b"]]
    assert silent.snapshot()["output"][1]["content"][0]["logprobs"] == []


def test_usage_has_cached_and_reasoning_tokens() -> None:
    made = assembly()
    usage: dict[str, Any] = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
    usage |= {"prompt_tokens_details": {"cached_tokens": 16, "created_cache_tokens": None}}
    made.add_chunk({"choices": [], "usage": {**usage, "completion_tokens_details": {"reasoning_tokens": 5}}})
    made.finish()
    assert made.snapshot()["usage"] == {
        "input_tokens": 30,
        "input_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 0},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 42,
    }
    checked_response(made.snapshot())


def test_an_event_is_two_lines_of_utf8_whatever_is_in_it() -> None:
    data = encode_event({"type": "response.output_text.delta", "delta": "a\r\n\n海\u2028\ud83d"}).decode()
    head, body, *rest = data.split("\n")
    assert head == "event: response.output_text.delta"
    assert json.loads(body.removeprefix("data: "))["delta"] == "a\r\n\n海\u2028?"
    assert rest == ["", ""]
