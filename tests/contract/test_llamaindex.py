"""LlamaIndex's client for OpenAI-like servers, unmodified, against the stack that ``make run`` brings up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client_environments import Guest

CITIES = ["Paris", "Rome", "Lima"]


@pytest.fixture(scope="module")
def heard(guest: Guest) -> dict[str, Any]:
    """What the client got, all in one run."""
    return guest.python("ask_llamaindex.py")


@pytest.mark.criterion("1.2")
def test_a_completion_is_the_same_whole_streamed_and_awaited(heard: dict[str, Any]) -> None:
    completion = heard["completion"]
    assert len(completion["text"]) > 10
    assert completion["text"] == completion["streamed"] == completion["asynchronous"]


@pytest.mark.criterion("1.1")
def test_a_chat_is_the_same_whole_streamed_and_awaited(heard: dict[str, Any]) -> None:
    chat = heard["chat"]
    assert chat["text"] == "The capital of France is Paris."
    assert chat["text"] == chat["streamed"] == chat["asynchronous"]
    assert chat["pieces"] > 5
    assert chat["usage"]["completion_tokens"] == 8


@pytest.mark.criterion("1.6")
def test_llamaindex_calls_the_function_that_the_model_chose(heard: dict[str, Any]) -> None:
    ((name, arguments),) = heard["tools"]["calls"]
    assert name == "forecast"
    assert arguments["city"] in CITIES
    assert heard["tools"]["done"] == f"It rains in {arguments['city']}."
    assert heard["tools"]["streamed"] == heard["tools"]["calls"]


@pytest.mark.criterion("1.6")
@pytest.mark.parametrize("way", ["function", "format"])
def test_a_structured_answer_is_an_object_of_its_class(heard: dict[str, Any], way: str) -> None:
    assert heard["structured"][way] == {"country": "France", "capital": "Paris"}


def test_the_responses_api_gives_the_same(heard: dict[str, Any]) -> None:
    assert heard["responses"]["text"] == heard["responses"]["streamed"] == heard["chat"]["text"]
