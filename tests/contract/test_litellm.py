"""The unmodified litellm SDK."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.client_environments import ClientRunner

ANSWER = "The capital of France is Paris."


@pytest.fixture(scope="module")
def results(client_runner: ClientRunner) -> dict[str, Any]:
    """Results of the client, all from one run."""
    return client_runner.python("ask_litellm.py")


@pytest.mark.criterion("1.1")
def test_both_providers_return_the_same_text_called_and_awaited(results: dict[str, Any]) -> None:
    assert results["plain"]["text"] == results["plain"]["hosted"] == results["awaited"]["text"] == ANSWER
    assert results["plain"]["finish"] == "stop"


@pytest.mark.criterion("1.3")
def test_a_response_rebuilt_from_its_stream_is_the_whole_one(results: dict[str, Any]) -> None:
    plain = results["plain"]
    assert plain["streamed"] == plain["rebuilt"] == results["awaited"]["streamed"] == ANSWER
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert plain["rebuilt_usage"][name] == plain["usage"][name] > 0


@pytest.mark.criterion("1.2")
def test_the_completions_endpoint_responds(results: dict[str, Any]) -> None:
    assert len(results["completion"]) > 10


@pytest.mark.criterion("1.6")
def test_a_forced_tool_is_called_the_same_whole_and_streamed(results: dict[str, Any]) -> None:
    ((name, arguments),) = results["tools"]["called"]
    assert name == "weather"
    assert json.loads(arguments)["city"] in ("Paris", "Rome", "Lima")
    assert results["tools"]["streamed"] == results["tools"]["called"]


@pytest.mark.criterion("1.6")
def test_structured_output_matches_its_schema(results: dict[str, Any]) -> None:
    assert json.loads(results["tools"]["structured"]) == {"country": "France", "capital": "Paris"}


def test_the_responses_api_returns_the_same(results: dict[str, Any]) -> None:
    responses = results["responses"]
    assert responses["text"] == responses["streamed"] == ANSWER
    assert responses["last"] == "response.completed"


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("name", "exception", "status"),
    [
        ("key", "AuthenticationError", 401),
        ("model", "NotFoundError", 404),
        ("context", "ContextWindowExceededError", 400),
        ("value", "BadRequestError", 400),
        ("worker", "ServiceUnavailableError", 503),
    ],
)
def test_errors_raise_the_exceptions_of_litellm(
    results: dict[str, Any], name: str, exception: str, status: int
) -> None:
    assert results["failures"][name] == {"name": exception, "status": status}
