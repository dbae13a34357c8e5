"""The official SDK for Node.js, unmodified, against the stack that ``make run`` brings up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.guests import Guest
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
