"""The cases of Open Responses' compliance suite. The fixture validates every answer and event."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.contract.client_environments import ClientRunner
from tests.contract.round_trips.answering import THINKER

QUESTION = {"type": "message", "role": "user", "content": "How is the weather in Rome?"}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
        "additionalProperties": False,
    },
}
SYSTEM = {"type": "message", "role": "system", "content": "You are a pirate."}
ANSWER = {"type": "message", "role": "assistant", "content": "It rains."}
CASES: dict[str, dict[str, Any]] = {
    "basic": {"input": [QUESTION]},
    "system prompt": {"input": [SYSTEM, QUESTION]},
    "several turns": {"input": [QUESTION, ANSWER, QUESTION]},
    "tool call": {"input": [QUESTION], "tools": [WEATHER]},
}
TEXTS = {"several turns": "This is answer 2."}  # of a worker that counts the questions


async def _post(client_runner: ClientRunner, path: str, body: dict[str, Any]) -> httpx.Response:
    server = client_runner.stack
    headers = {"Authorization": f"Bearer {server.key}"}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, trust_env=False) as client:
        answer = await client.post(path, json={"model": server.model, **body})
    assert answer.status_code == 200, answer.text
    return answer


async def _response(client_runner: ClientRunner, body: dict[str, Any]) -> dict[str, Any]:
    """Return the response, or the one of the last event of a stream."""
    answer = await _post(client_runner, "/v1/responses", body)
    if not body.get("stream"):
        return dict(answer.json())
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"
    return dict(events[-1]["response"])


@pytest.mark.parametrize("model", [THINKER], indirect=True)
async def test_the_cases_of_the_compliance_suite_pass(client_runner: ClientRunner) -> None:
    cases = [(name, body, stream) for name, body in CASES.items() for stream in (False, True)]
    responses = [_response(client_runner, {**body, "stream": stream}) for _, body, stream in cases]
    for (name, _, _), response in zip(cases, await asyncio.gather(*responses), strict=True):
        assert response["status"] == "completed"
        reasoning, item = response["output"]
        assert (name, reasoning["type"]) == (name, "reasoning")
        if name == "tool call":
            assert (item["type"], item["name"]) == ("function_call", "get_weather")
            assert json.loads(item["arguments"]) == {"location": "Rome"}
        else:
            assert item["content"][0]["text"] == TEXTS.get(name, "This is answer 1.")


@pytest.mark.parametrize("model", [THINKER], indirect=True)
async def test_a_compacted_conversation_is_continued(client_runner: ClientRunner) -> None:
    compaction = (await _post(client_runner, "/v1/responses/compact", CASES["several turns"])).json()
    *messages, summary = compaction["output"]
    assert [message["role"] for message in messages] == ["user", "user"]
    assert summary["type"] == "compaction"
    response = await _response(client_runner, {"input": [*compaction["output"], QUESTION]})
    assert response["output"][-1]["content"][0]["text"] == "This is answer 4."
