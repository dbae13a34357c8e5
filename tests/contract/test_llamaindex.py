"""LlamaIndex's unmodified client for OpenAI-like servers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client_environments import ClientRunner

CITIES = ["Paris", "Rome", "Lima"]


@pytest.fixture(scope="module")
def results(client_runner: ClientRunner) -> dict[str, Any]:
    """Results of the client, all from one run."""
    return client_runner.python("ask_llamaindex.py")


@pytest.mark.criterion("1.2")
def test_a_completion_is_the_same_whole_streamed_and_awaited(results: dict[str, Any]) -> None:
    completion = results["completion"]
    assert len(completion["text"]) > 10
    assert completion["text"] == completion["streamed"] == completion["asynchronous"]


@pytest.mark.criterion("1.1")
def test_a_chat_is_the_same_whole_streamed_and_awaited(results: dict[str, Any]) -> None:
    chat = results["chat"]
    assert chat["text"] == "The capital of France is Paris."
    assert chat["text"] == chat["streamed"] == chat["asynchronous"]
    assert chat["pieces"] > 5
    assert chat["usage"]["completion_tokens"] == 8


@pytest.mark.criterion("1.6")
def test_llamaindex_calls_the_function_that_the_model_chose(results: dict[str, Any]) -> None:
    ((name, arguments),) = results["tools"]["calls"]
    assert name == "forecast"
    assert arguments["city"] in CITIES
    assert results["tools"]["done"] == f"It rains in {arguments['city']}."
    assert results["tools"]["streamed"] == results["tools"]["calls"]


@pytest.mark.criterion("1.6")
@pytest.mark.parametrize("way", ["function", "format"])
def test_structured_output_is_an_instance_of_its_class(results: dict[str, Any], way: str) -> None:
    assert results["structured"][way] == {"country": "France", "capital": "Paris"}


def test_the_responses_api_returns_the_same(results: dict[str, Any]) -> None:
    assert results["responses"]["text"] == results["responses"]["streamed"] == results["chat"]["text"]
