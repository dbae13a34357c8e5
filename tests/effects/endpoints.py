"""Requests of the effect tests, and streams assembled as a client does."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx

Json = dict[str, Any]
QUESTION: list[Json] = [{"role": "user", "content": "Say something."}]
DIRECT: Json = {"enable_thinking": False}  # the text is content, and constraints apply from the first token

PLAIN: Json = {"messages": QUESTION, "max_tokens": 12, "chat_template_kwargs": DIRECT}

CITIES = ["Paris", "Rome"]
WEATHER: Json = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": CITIES}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
STRICT: Json = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
OTHER: Json = {"type": "function", "function": {**STRICT["function"], "name": "tide"}}


@dataclass
class StreamResult:
    """Contents of a stream, by choice."""

    chunks: list[Json] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=lambda: defaultdict(str))
    reasoning: dict[int, str] = field(default_factory=lambda: defaultdict(str))
    calls: dict[int, list[Json]] = field(default_factory=lambda: defaultdict(list))
    reasons: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    usage: Json | None = None

    def take(self, chunk: Json) -> None:
        """Add one chunk."""
        self.chunks.append(chunk)
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk["choices"]:
            index, delta = choice["index"], choice.get("delta", {})
            self.texts[index] += choice.get("text") or delta.get("content") or ""
            self.reasoning[index] += delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or ():
                self._take_call(self.calls[index], call)
            if choice.get("finish_reason"):
                self.reasons[index].append(choice["finish_reason"])

    def _take_call(self, calls: list[Json], delta: Json) -> None:
        if delta["index"] == len(calls):
            calls.append({"id": delta["id"], "name": delta["function"]["name"], "arguments": ""})
        calls[delta["index"]]["arguments"] += delta["function"].get("arguments") or ""


class Endpoints:
    """The generating endpoints of a stack, by default with short greedy responses."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def post(self, path: str, body: Json) -> httpx.Response:
        """Send a request and return the HTTP response."""
        return self._client.post(f"/v1/{path}", json={"model": "tiny", "temperature": 0, **body})

    def chat(self, **fields: Any) -> Json:
        """Return the body of a chat response."""
        return self._body(self.post("chat/completions", {**PLAIN, **fields}))

    def complete(self, prompt: Any = "The sea", **fields: Any) -> Json:
        """Return the body of a completion response."""
        return self._body(self.post("completions", {"prompt": prompt, "max_tokens": 12, **fields}))

    def text(self, prompt: Any = "The sea", **fields: Any) -> str:
        """Return the text of a completion's first choice."""
        return str(self.complete(prompt, **fields)["choices"][0]["text"])

    def stream(self, path: str, **fields: Any) -> StreamResult:
        """Return the contents of a stream, which must end with ``[DONE]``."""
        body = {"model": "tiny", "temperature": 0, "max_tokens": 12, "stream": True, **fields}
        result, last = StreamResult(), ""
        with self._client.stream("POST", f"/v1/{path}", json=body) as response:
            assert response.status_code == 200, response.read()
            for line in response.iter_lines():
                if line.startswith("data: "):
                    last = line.removeprefix("data: ")
                    if last != "[DONE]":
                        result.take(json.loads(last))
        assert last == "[DONE]"
        return result

    def stream_chat(self, **fields: Any) -> StreamResult:
        """Return the contents of a chat stream."""
        return self.stream("chat/completions", **{**PLAIN, **fields})

    def refusal(self, path: str, **fields: Any) -> Json:
        """Return the error of a request that must fail with 400."""
        response = self.post(path, {"max_tokens": 12, **fields})
        assert response.status_code == 400, response.text
        error: Json = response.json()["error"]
        return error

    def _body(self, response: httpx.Response) -> Json:
        assert response.status_code == 200, response.text
        body: Json = response.json()
        return body


def forced(tokenizer: Any, words: list[str]) -> Json:
    """Return parameters that make the model generate these words in this order; no token may repeat.

    The bias decreases from token to token, and the penalty excludes each one after its first use.
    """
    ids = [number for word in words for number in tokenizer.encode(word, add_special_tokens=False)]
    assert len(set(ids)) == len(ids) < 18, words
    bias = {str(number): 100 - 5 * place for place, number in enumerate(ids)}
    return {"logit_bias": bias, "repetition_penalty": 10, "max_tokens": len(ids)}
