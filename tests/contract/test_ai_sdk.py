"""Vercel's unmodified AI SDK, with both of its providers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client_environments import ClientRunner

COMPLETION_PROVIDERS = ["compatible", "official"]
PROVIDERS = [*COMPLETION_PROVIDERS, "responses"]
CITIES = ("Paris", "Rome", "Lima")


@pytest.fixture(scope="module")
def results(client_runner: ClientRunner) -> dict[str, Any]:
    """Results of the SDK, all from one run of Node.js."""
    return client_runner.node("ai_sdk.mjs")


@pytest.mark.criterion("1.1")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_generated_and_streamed_text_are_the_same(results: dict[str, Any], provider: str) -> None:
    chat = results[provider]["chat"]
    assert chat["text"] == chat["streamed"] == "The capital of France is Paris."
    assert chat["pieces"] > 5
    assert chat["finish"] == chat["streamedFinish"] == "stop"
    assert chat["usage"]["outputTokens"] == chat["streamedUsage"]["outputTokens"] == 8
    assert chat["usage"]["inputTokens"] == chat["streamedUsage"]["inputTokens"] > 8


@pytest.mark.criterion("1.2")
@pytest.mark.parametrize("provider", COMPLETION_PROVIDERS)
def test_a_completion_and_its_stream_are_the_same(results: dict[str, Any], provider: str) -> None:
    completion = results[provider]["completion"]
    assert completion["text"] == completion["streamed"]
    assert (completion["finish"], completion["usage"]["outputTokens"]) == ("length", 12)
    assert completion["streamedUsage"]["outputTokens"] == 12


@pytest.mark.criterion("1.6")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_object_matches_its_schema_and_grows_in_a_stream(results: dict[str, Any], provider: str) -> None:
    objects = results[provider]["objects"]
    assert objects["whole"] == objects["streamed"] == {"country": "France", "capital": "Paris"}
    assert objects["partial"][-1] == objects["whole"]
    assert len(objects["partial"]) > 2


@pytest.mark.criterion("1.6")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_tool_is_called_and_its_result_is_sent_to_the_model(results: dict[str, Any], provider: str) -> None:
    tools = results[provider]["tools"]
    assert tools["call"]["city"] in CITIES
    assert tools["result"] == f"It rains in {tools['call']['city']}."
    assert tools["steps"] == 2
    assert len(tools["text"]) > 10
    streamed = tools["streamed"]
    assert (streamed["name"], streamed["invalid"]) == ("weather", False)
    assert streamed["input"]["city"] in CITIES


@pytest.mark.criterion("4.2")
@pytest.mark.parametrize(
    ("name", "status", "code", "retryable"),
    [
        ("key", 401, "invalid_api_key", False),
        ("model", 404, "model_not_found", False),
        ("context", 400, "context_length_exceeded", False),
        ("worker", 503, "no_worker_available", True),
    ],
)
def test_errors_are_marked_as_retryable_or_not(
    results: dict[str, Any], name: str, status: int, code: str, retryable: bool
) -> None:
    assert results["failures"][name] == {
        "name": "AI_APICallError",
        "status": status,
        "code": code,
        "retryable": retryable,
    }
