"""LangChain's unmodified ChatOpenAI."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client_environments import ClientRunner

ANSWER = "The capital of France is Paris."
CITIES = {"Paris", "Rome", "Lima"}


@pytest.fixture(scope="module")
def results(client_runner: ClientRunner) -> dict[str, Any]:
    """Results of the client, all from one run."""
    return client_runner.python("ask_langchain.py")


@pytest.mark.criterion("1.1")
def test_text_is_the_same_whole_streamed_awaited_and_in_a_batch(results: dict[str, Any]) -> None:
    plain = results["plain"]
    assert plain["text"] == plain["streamed"] == plain["asynchronous"] == ANSWER
    assert plain["pieces"] > 5
    assert plain["batch"][0] == ANSWER
    assert plain["batch"][1] != ANSWER
    assert plain["metadata"]["finish_reason"] == "stop"


@pytest.mark.criterion("1.3")
def test_usage_is_returned_whole_and_streamed(results: dict[str, Any]) -> None:
    usage, streamed = results["plain"]["usage"], results["plain"]["streamed_usage"]
    assert usage["output_tokens"] == streamed["output_tokens"] == 8
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.criterion("1.6")
def test_logprobs_are_returned_by_token(results: dict[str, Any]) -> None:
    assert [entry["token"] for entry in results["logprobs"]] == ["The", " capital", " of"]
    for entry in results["logprobs"]:
        assert len(entry["top_logprobs"]) == 2
        assert entry["logprob"] == max(top["logprob"] for top in entry["top_logprobs"])


@pytest.mark.criterion("1.6")
def test_a_forced_tool_is_called_with_arguments_that_match_its_schema(results: dict[str, Any]) -> None:
    (call,) = results["tools"]["called"]
    assert call["name"] == "Weather"
    assert call["args"]["city"] in CITIES
    assert call["args"]["days"] in range(1, 10)
    (streamed,) = results["tools"]["streamed"]
    assert (streamed["name"], streamed["args"]) == (call["name"], call["args"])
    assert streamed["id"] != call["id"]


@pytest.mark.criterion("1.6")
def test_a_required_call_chooses_one_of_several_tools(results: dict[str, Any]) -> None:
    call = results["tools"]["any"][0]
    assert set(call["args"]) == {"Weather": {"city", "days"}, "Capital": {"country", "capital"}}[call["name"]]


@pytest.mark.criterion("1.9")
def test_a_conversation_continues_after_a_tool_result(results: dict[str, Any]) -> None:
    assert len(results["tools"]["afterwards"]) > 10


@pytest.mark.criterion("1.6")
@pytest.mark.parametrize("way", ["json_schema", "strict", "function_calling"])
def test_structured_output_is_an_instance_of_its_class(results: dict[str, Any], way: str) -> None:
    assert results["structured"][way] == {"country": "France", "capital": "Paris"}


def test_the_responses_api_returns_the_same(results: dict[str, Any]) -> None:
    responses = results["responses"]
    assert responses["text"] == responses["streamed"] == ANSWER
    assert responses["usage"]["output_tokens"] == 8
    assert "Rome" in responses["continued"]
    (call,) = responses["tools"]
    assert call["args"]["city"] in CITIES
    assert responses["structured"] == {"country": "France", "capital": "Paris"}


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("name", "exception", "status", "code"),
    [
        ("key", "ModelAuthenticationError", 401, "invalid_api_key"),
        ("model", "ModelNotFoundError", 404, "model_not_found"),
        ("context", "ContextOverflowError", 400, "context_length_exceeded"),
    ],
)
def test_errors_raise_the_exceptions_of_langchain(
    results: dict[str, Any], name: str, exception: str, status: int, code: str
) -> None:
    error = results["failures"][name]
    assert exception in error["classes"]
    assert (error["status"], error["code"]) == (status, code)
