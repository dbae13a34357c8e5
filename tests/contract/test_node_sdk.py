"""The official, unmodified SDK for Node.js."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.client_environments import ClientRunner
from tests.stacks import RunningStack


@pytest.fixture(scope="module")
def results(client_runner: ClientRunner) -> dict[str, Any]:
    """Results of the SDK, all from one run of Node.js."""
    return client_runner.node("contract.mjs")


@pytest.mark.criterion("1.1")
@pytest.mark.criterion("1.3")
def test_chat_has_the_same_text_whole_and_streamed(results: dict[str, Any]) -> None:
    assert results["chat"]["text"] == "The capital of France is Paris."
    assert results["chat"]["object"] == "chat.completion"
    assert results["chatStream"]["text"] == results["chat"]["text"]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert results["chatStream"]["usage"][name] == results["chat"]["usage"][name] > 0


@pytest.mark.criterion("1.2")
def test_a_completion_has_the_same_text_whole_and_streamed(results: dict[str, Any]) -> None:
    assert results["completion"]["object"] == "text_completion"
    assert len(results["completion"]["text"]) > 10
    assert results["completionStream"]["text"] == results["completion"]["text"]


def test_models_are_listed_and_found_by_id(results: dict[str, Any], stack: RunningStack) -> None:
    assert results["models"] == [stack.model]
    assert results["retrieved"] == stack.model


@pytest.mark.criterion("1.8")
def test_a_wrong_key_is_the_sdks_authentication_error(results: dict[str, Any]) -> None:
    error = results["wrongKey"]
    assert (error["name"], error["status"], error["code"]) == ("AuthenticationError", 401, "invalid_api_key")
    assert error["requestId"].startswith("req_")


def test_an_unknown_model_is_the_sdks_not_found_error(results: dict[str, Any]) -> None:
    error = results["unknownModel"]
    assert (error["name"], error["status"], error["code"]) == ("NotFoundError", 404, "model_not_found")


def test_a_stream_can_be_aborted(results: dict[str, Any]) -> None:
    assert 5 <= results["stoppedAfter"] < 50  # of 500: the SDK still yields chunks that have arrived


@pytest.mark.criterion("1.7")
@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("name", "exception", "status", "code", "param"),
    [
        ("badValue", "BadRequestError", 400, "decimal_above_max_value", "temperature"),
        ("tooLong", "BadRequestError", 400, "context_length_exceeded", "messages"),
        ("unknownUrl", "NotFoundError", 404, "unknown_url", None),
    ],
)
def test_an_error_names_the_invalid_parameter(
    results: dict[str, Any], name: str, exception: str, status: int, code: str, param: str | None
) -> None:
    error = results[name]
    values = tuple(error[field] for field in ("name", "status", "code", "param", "type"))
    assert values == (exception, status, code, param, "invalid_request_error")


@pytest.mark.criterion("1.6")
def test_parse_returns_an_object_that_matches_its_schema_whole_and_streamed(results: dict[str, Any]) -> None:
    objects = results["parsed"]
    assert objects["plain"] == objects["streamed"] == {"country": "France", "capital": "Paris"}
    assert json.loads(objects["deltas"]) == objects["plain"]
    assert objects["usage"] > 5


@pytest.mark.criterion("1.6")
def test_the_tool_runner_calls_the_function_that_the_model_chose(results: dict[str, Any]) -> None:
    tools = results["tools"]
    assert len(tools["asked"]) == 2
    assert tools["asked"][0] in ("Paris", "Rome", "Lima")
    assert tools["plain"] == tools["streamed"] == f"It rains in {tools['asked'][0]}."


@pytest.mark.criterion("1.6")
def test_choices_and_logprobs_are_returned_on_request(results: dict[str, Any]) -> None:
    assert len(set(results["sampling"]["texts"])) == 3
    logprobs = results["sampling"]["logprobs"]
    assert [entry["token"] for entry in logprobs] == ["The", " capital", " of"]
    assert all(entry["top_logprobs"][0]["logprob"] == entry["logprob"] for entry in logprobs)


def test_the_request_id_is_returned_with_the_response(results: dict[str, Any]) -> None:
    headers = results["headers"]
    assert headers["text"] == "The capital of France is Paris."
    assert headers["type"].startswith("application/json")
    assert headers["request_id"].startswith("req_")


@pytest.mark.criterion("4.2")
def test_the_sdk_retries_after_the_given_time(results: dict[str, Any]) -> None:
    first, second = results["retried"]["at"]
    error = results["retried"]["error"]
    assert (error["name"], error["status"]) == ("InternalServerError", 503)
    assert error["code"] == "no_worker_available"
    assert (first["status"], second["status"]) == (503, 503)
    assert second["ms"] - first["ms"] >= float(first["after"]) * 1000 > 0


def test_responses_are_created_streamed_stored_continued_and_polled(results: dict[str, Any]) -> None:
    responses = results["responses"]
    text = "The capital of France is Paris."
    assert responses["text"] == responses["streamed"] == responses["kept"] == text
    assert responses["numbers"] == list(range(len(responses["numbers"])))
    assert len(responses["numbers"]) > 10
    assert responses["background"]["first"] in ("queued", "in_progress")
    assert (responses["background"]["last"], responses["background"]["text"]) == ("completed", text)
    assert "Rome" in responses["continued"]
