"""The litellm SDK, unmodified, against the stack that ``make run`` brings up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.client_environments import Guest

ANSWER = "The capital of France is Paris."


@pytest.fixture(scope="module")
def heard(guest: Guest) -> dict[str, Any]:
    """What the client got, all in one run."""
    return guest.python("ask_litellm.py")


@pytest.mark.criterion("1.1")
def test_both_providers_and_both_manners_of_calling_get_the_answer(heard: dict[str, Any]) -> None:
    assert heard["plain"]["text"] == heard["plain"]["hosted"] == heard["awaited"]["text"] == ANSWER
    assert heard["plain"]["finish"] == "stop"


@pytest.mark.criterion("1.3")
def test_the_answer_that_litellm_builds_from_a_stream_is_the_plain_one(heard: dict[str, Any]) -> None:
    plain = heard["plain"]
    assert plain["streamed"] == plain["rebuilt"] == heard["awaited"]["streamed"] == ANSWER
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert plain["rebuilt_usage"][name] == plain["usage"][name] > 0


@pytest.mark.criterion("1.2")
def test_the_completions_endpoint_answers(heard: dict[str, Any]) -> None:
    assert len(heard["completion"]) > 10


@pytest.mark.criterion("1.6")
def test_a_forced_tool_is_called_the_same_whole_and_streamed(heard: dict[str, Any]) -> None:
    ((name, arguments),) = heard["tools"]["called"]
    assert name == "weather"
    assert json.loads(arguments)["city"] in ("Paris", "Rome", "Lima")
    assert heard["tools"]["streamed"] == heard["tools"]["called"]


@pytest.mark.criterion("1.6")
def test_a_structured_answer_is_of_its_schema(heard: dict[str, Any]) -> None:
    assert json.loads(heard["tools"]["structured"]) == {"country": "France", "capital": "Paris"}


def test_the_responses_api_gives_the_same(heard: dict[str, Any]) -> None:
    responses = heard["responses"]
    assert responses["text"] == responses["streamed"] == ANSWER
    assert responses["last"] == "response.completed"


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("name", "wanted", "status"),
    [
        ("key", "AuthenticationError", 401),
        ("model", "NotFoundError", 404),
        ("context", "ContextWindowExceededError", 400),
        ("value", "BadRequestError", 400),
        ("worker", "ServiceUnavailableError", 503),
    ],
)
def test_an_error_is_the_class_that_litellm_has_for_it(
    heard: dict[str, Any], name: str, wanted: str, status: int
) -> None:
    assert heard["failures"][name] == {"name": wanted, "status": status}
