"""An engine client that answers each call by its content: text, an object of a schema, or a tool call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from inference_worker.client.interface import Call
from inference_worker.protocol.messages import Operation
from tests.gateway.harness.scripted import ScriptedClient, ScriptedStream
from tests.gateway.harness.scripts import USAGE, Script, accepted, chunk, done, finished

THINKER = "thinker"
PIECES = 3


class AnsweringClient(ScriptedClient):
    """Answers chats. Text says how many questions were asked, or repeats the result of a tool.

    ``bodies`` are the calls as a worker receives them. The model ``thinker`` reasons before each answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.models = ("tiny", THINKER)
        self.bodies: list[dict[str, Any]] = []

    @override
    async def submit(
        self, call: Call, *, attempt: int, excluded_workers: Sequence[str] = ()
    ) -> ScriptedStream:
        if call.operation == Operation.CHAT_COMPLETIONS:
            body = json.loads(call.body)
            self.bodies.append(body)
            self.scripts.append(_script(body))
        return await super().submit(call, attempt=attempt, excluded_workers=excluded_workers)


def _script(body: dict[str, Any]) -> Script:
    message = _answer(body)
    finish = "tool_calls" if "tool_calls" in message else "stop"
    if body["model"] == THINKER:
        message["reasoning"] = "The user asks."
    if not body.get("stream"):
        return [accepted(), finished(_document(body["model"], message, finish))]
    deltas = [
        chunk({"role": "assistant", "content": ""}),
        *map(chunk, _deltas(message)),
        chunk(finish=finish),
    ]
    asks_usage = (body.get("stream_options") or {}).get("include_usage")
    return [accepted(), *deltas, *([chunk(usage=USAGE)] if asks_usage else []), done(), finished()]


def _answer(body: dict[str, Any]) -> dict[str, Any]:
    """Return the message of the assistant."""
    messages, choice = body["messages"], body.get("tool_choice") or "auto"
    if body.get("tools") and choice != "none" and messages[-1]["role"] != "tool":
        return {"role": "assistant", "content": None, "tool_calls": [_call(body, choice)]}
    schema = _response_schema(body)
    if schema is not None:
        return {"role": "assistant", "content": json.dumps(sample(schema, schema))}
    if messages[-1]["role"] == "tool":
        return {"role": "assistant", "content": f"The tool said: {messages[-1]['content']}"}
    questions = sum(message["role"] == "user" for message in messages)
    return {"role": "assistant", "content": f"This is answer {questions}."}


def _call(body: dict[str, Any], choice: Any) -> dict[str, Any]:
    """Return a call of the tool that is forced, or of the first."""
    functions = {tool["function"]["name"]: tool["function"] for tool in body["tools"]}
    name = choice["function"]["name"] if isinstance(choice, dict) else next(iter(functions))
    schema = functions[name].get("parameters") or {}
    arguments = json.dumps(sample(schema, schema))
    identity = f"call_{len(body['messages'])}"
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _response_schema(body: dict[str, Any]) -> Any:
    response_format = body.get("response_format") or {}
    return response_format["json_schema"]["schema"] if response_format.get("type") == "json_schema" else None


def sample(schema: Any, root: Any) -> Any:
    """Return a value of a schema that has the keywords that clients generate."""
    if "$ref" in schema:
        target = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return sample(target, root)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return sample(schema[keyword][0], root)
    if "enum" in schema or "const" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    if "properties" in schema:
        return {name: sample(each, root) for name, each in schema["properties"].items()}
    values = {"string": "Rome", "integer": 1, "number": 1, "boolean": True, "array": []}
    return values.get(schema.get("type", "object"), {})


def _document(model: str, message: dict[str, Any], finish: str) -> bytes:
    choice = {"index": 0, "logprobs": None, "finish_reason": finish, "message": {"refusal": None, **message}}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model}
    return json.dumps({**head, "choices": [choice], "usage": USAGE}).encode()


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the message in pieces, as an engine streams it."""
    deltas: list[dict[str, Any]] = [
        {name: piece} for name in ("reasoning", "content") for piece in _pieces(message.get(name) or "")
    ]
    for index, call in enumerate(message.get("tool_calls", ())):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        head = {
            "index": index,
            "id": call["id"],
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        deltas.append({"tool_calls": [head]})
        for piece in _pieces(arguments):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    return deltas


def _pieces(text: str) -> list[str]:
    size = max(1, -(-len(text) // PIECES))
    return [text[start : start + size] for start in range(0, len(text), size)]
