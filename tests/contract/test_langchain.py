"""LangChain's ChatOpenAI, unmodified, against the stack that ``make run`` brings up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client_environments import Guest

ANSWER = "The capital of France is Paris."
CITIES = {"Paris", "Rome", "Lima"}


@pytest.fixture(scope="module")
def heard(guest: Guest) -> dict[str, Any]:
    """What the client got, all in one run."""
    return guest.python("ask_langchain.py")


@pytest.mark.criterion("1.1")
def test_an_answer_is_the_same_whole_streamed_awaited_and_in_a_batch(heard: dict[str, Any]) -> None:
    plain = heard["plain"]
    assert plain["text"] == plain["streamed"] == plain["asynchronous"] == ANSWER
    assert plain["pieces"] > 5
    assert plain["batch"][0] == ANSWER
    assert plain["batch"][1] != ANSWER
    assert plain["metadata"]["finish_reason"] == "stop"


@pytest.mark.criterion("1.3")
def test_usage_is_there_with_and_without_a_stream(heard: dict[str, Any]) -> None:
    usage, streamed = heard["plain"]["usage"], heard["plain"]["streamed_usage"]
    assert usage["output_tokens"] == streamed["output_tokens"] == 8
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.criterion("1.6")
def test_logprobs_come_by_token(heard: dict[str, Any]) -> None:
    assert [entry["token"] for entry in heard["logprobs"]] == ["The", " capital", " of"]
    for entry in heard["logprobs"]:
        assert len(entry["top_logprobs"]) == 2
        assert entry["logprob"] == max(top["logprob"] for top in entry["top_logprobs"])


@pytest.mark.criterion("1.6")
def test_a_forced_tool_is_called_with_arguments_of_its_schema(heard: dict[str, Any]) -> None:
    (call,) = heard["tools"]["called"]
    assert call["name"] == "Weather"
    assert call["args"]["city"] in CITIES
    assert call["args"]["days"] in range(1, 10)
    (streamed,) = heard["tools"]["streamed"]
    assert (streamed["name"], streamed["args"]) == (call["name"], call["args"])
    assert streamed["id"] != call["id"]


@pytest.mark.criterion("1.6")
def test_one_of_several_tools_is_called_when_any_must_be(heard: dict[str, Any]) -> None:
    call = heard["tools"]["any"][0]
    assert set(call["args"]) == {"Weather": {"city", "days"}, "Capital": {"country", "capital"}}[call["name"]]


@pytest.mark.criterion("1.9")
def test_a_conversation_goes_on_after_a_tool_has_answered(heard: dict[str, Any]) -> None:
    assert len(heard["tools"]["afterwards"]) > 10


@pytest.mark.criterion("1.6")
@pytest.mark.parametrize("way", ["json_schema", "strict", "function_calling"])
def test_structured_output_is_an_object_of_its_class(heard: dict[str, Any], way: str) -> None:
    assert heard["structured"][way] == {"country": "France", "capital": "Paris"}


def test_the_responses_api_gives_the_same(heard: dict[str, Any]) -> None:
    responses = heard["responses"]
    assert responses["text"] == responses["streamed"] == ANSWER
    assert responses["usage"]["output_tokens"] == 8
    assert "Rome" in responses["continued"]
    (call,) = responses["tools"]
    assert call["args"]["city"] in CITIES
    assert responses["structured"] == {"country": "France", "capital": "Paris"}


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("name", "wanted", "status", "code"),
    [
        ("key", "ModelAuthenticationError", 401, "invalid_api_key"),
        ("model", "ModelNotFoundError", 404, "model_not_found"),
        ("context", "ContextOverflowError", 400, "context_length_exceeded"),
    ],
)
def test_an_error_is_langchains_own_class_for_it(
    heard: dict[str, Any], name: str, wanted: str, status: int, code: str
) -> None:
    error = heard["failures"][name]
    assert wanted in error["classes"]
    assert (error["status"], error["code"]) == (status, code)
