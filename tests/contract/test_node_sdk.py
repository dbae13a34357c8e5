"""The official SDK for Node.js, unmodified, against the stack that ``make run`` brings up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.client_environments import Guest
from tests.stacks import RunningStack


@pytest.fixture(scope="module")
def heard(guest: Guest) -> dict[str, Any]:
    """What the SDK got, all in one run of Node.js."""
    return guest.node("contract.mjs")


@pytest.mark.criterion("1.1")
@pytest.mark.criterion("1.3")
def test_chat_answers_and_its_stream_is_the_same_text(heard: dict[str, Any]) -> None:
    assert heard["chat"]["text"] == "The capital of France is Paris."
    assert heard["chat"]["object"] == "chat.completion"
    assert heard["chatStream"]["text"] == heard["chat"]["text"]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert heard["chatStream"]["usage"][name] == heard["chat"]["usage"][name] > 0


@pytest.mark.criterion("1.2")
def test_completion_answers_and_its_stream_is_the_same_text(heard: dict[str, Any]) -> None:
    assert heard["completion"]["object"] == "text_completion"
    assert len(heard["completion"]["text"]) > 10
    assert heard["completionStream"]["text"] == heard["completion"]["text"]


def test_models_are_listed_and_found_by_id(heard: dict[str, Any], stack: RunningStack) -> None:
    assert heard["models"] == [stack.model]
    assert heard["retrieved"] == stack.model


@pytest.mark.criterion("1.8")
def test_a_wrong_key_is_the_sdks_authentication_error(heard: dict[str, Any]) -> None:
    error = heard["wrongKey"]
    assert (error["name"], error["status"], error["code"]) == ("AuthenticationError", 401, "invalid_api_key")
    assert error["requestId"].startswith("req_")


def test_an_unknown_model_is_the_sdks_not_found_error(heard: dict[str, Any]) -> None:
    error = heard["unknownModel"]
    assert (error["name"], error["status"], error["code"]) == ("NotFoundError", 404, "model_not_found")


def test_a_stream_can_be_aborted(heard: dict[str, Any]) -> None:
    assert 5 <= heard["stoppedAfter"] < 50  # of 500: what has arrived already is still handed out


@pytest.mark.criterion("1.7")
@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("name", "wanted", "status", "code", "param"),
    [
        ("badValue", "BadRequestError", 400, "decimal_above_max_value", "temperature"),
        ("tooLong", "BadRequestError", 400, "context_length_exceeded", "messages"),
        ("unknownUrl", "NotFoundError", 404, "unknown_url", None),
    ],
)
def test_a_refusal_names_its_fault(
    heard: dict[str, Any], name: str, wanted: str, status: int, code: str, param: str | None
) -> None:
    error = heard[name]
    found = tuple(error[field] for field in ("name", "status", "code", "param", "type"))
    assert found == (wanted, status, code, param, "invalid_request_error")


@pytest.mark.criterion("1.6")
def test_parse_gives_an_object_of_its_schema_streamed_or_not(heard: dict[str, Any]) -> None:
    parsed = heard["parsed"]
    assert parsed["plain"] == parsed["streamed"] == {"country": "France", "capital": "Paris"}
    assert json.loads(parsed["deltas"]) == parsed["plain"]
    assert parsed["usage"] > 5


@pytest.mark.criterion("1.6")
def test_the_tool_runner_calls_the_function_that_the_model_chose(heard: dict[str, Any]) -> None:
    tools = heard["tools"]
    assert len(tools["asked"]) == 2
    assert tools["asked"][0] in ("Paris", "Rome", "Lima")
    assert tools["plain"] == tools["streamed"] == f"It rains in {tools['asked'][0]}."


@pytest.mark.criterion("1.6")
def test_choices_and_logprobs_come_as_asked_for(heard: dict[str, Any]) -> None:
    assert len(set(heard["sampling"]["texts"])) == 3
    logprobs = heard["sampling"]["logprobs"]
    assert [entry["token"] for entry in logprobs] == ["The", " capital", " of"]
    assert all(entry["top_logprobs"][0]["logprob"] == entry["logprob"] for entry in logprobs)


def test_the_request_id_is_beside_the_answer(heard: dict[str, Any]) -> None:
    headers = heard["headers"]
    assert headers["text"] == "The capital of France is Paris."
    assert headers["type"].startswith("application/json")
    assert headers["request_id"].startswith("req_")


@pytest.mark.criterion("4.2")
def test_the_sdk_tries_again_when_it_was_told_to(heard: dict[str, Any]) -> None:
    first, second = heard["retried"]["at"]
    error = heard["retried"]["error"]
    assert (error["name"], error["status"]) == ("InternalServerError", 503)
    assert error["code"] == "no_worker_available"
    assert (first["status"], second["status"]) == (503, 503)
    assert second["ms"] - first["ms"] >= float(first["after"]) * 1000 > 0


def test_responses_are_made_streamed_kept_continued_and_polled(heard: dict[str, Any]) -> None:
    responses = heard["responses"]
    text = "The capital of France is Paris."
    assert responses["text"] == responses["streamed"] == responses["kept"] == text
    assert responses["numbers"] == list(range(len(responses["numbers"])))
    assert len(responses["numbers"]) > 10
    assert responses["background"]["first"] in ("queued", "in_progress")
    assert (responses["background"]["last"], responses["background"]["text"]) == ("completed", text)
    assert "Rome" in responses["continued"]
