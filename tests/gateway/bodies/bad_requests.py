"""Bad bodies for chat and completions, with the error that each gets."""

from __future__ import annotations

from typing import Any, NamedTuple

from api.gateway.app import Gateway
from tests.gateway.harness import calls

ERROR_FIELDS = {"message", "type", "param", "code"}


class Bad(NamedTuple):
    """Changes that make a valid body bad, and the expected error. ``message`` is a part of its message."""

    changes: dict[str, Any]
    code: str
    param: str | None
    message: str

    @property
    def expected_codes(self) -> tuple[int, str, str, str | None]:
        """The status of the reply, and the type, code and parameter of its error."""
        return (400, "invalid_request_error", self.code, self.param)


async def mismatches(gateway: Gateway, key: str, requests: list[tuple[str, Bad]]) -> list[tuple[Any, ...]]:
    """Return the path, changes and error of each bad request that doesn't get the expected error."""
    results: list[tuple[Any, ...]] = []
    for path, bad in requests:
        reply = await calls.post(gateway, key, path, **bad.changes)
        error = reply.error
        codes = (reply.status, error["type"], error["code"], error["param"])
        has_message = bad.message in error["message"]
        if codes != bad.expected_codes or not has_message or error.keys() != ERROR_FIELDS:
            results.append((path, str(bad)[:200], codes, error["message"]))
    return results


def _user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def _assistant(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", **fields}]}


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}

_ARGUMENTS = "messages[1].tool_calls[0].function.arguments"
_REGEX = {"structured_outputs": {"regex": "[0-9]+"}}


def _call(arguments: str) -> dict[str, Any]:
    function = {"name": "look", "arguments": arguments}
    return _assistant(content=None, tool_calls=[{"id": "1", "type": "function", "function": function}])


CHAT = [
    Bad({"messages": ...}, "missing_required_parameter", "messages", "'messages'"),
    Bad({"model": ...}, "missing_required_parameter", "model", "'model'"),
    Bad({"model": None}, "missing_required_parameter", "model", "'model'"),
    Bad({"model": 7}, "invalid_type", "model", "expected a string, but got an integer"),
    Bad({"model": ""}, "string_below_min_length", "model", "too short"),
    Bad({"model": "m" * 300}, "string_above_max_length", "model", "256"),
    Bad({"messages": []}, "empty_array", "messages", "empty array"),
    Bad({"messages": "hi"}, "invalid_type", "messages", "expected an array, but got a string"),
    Bad({"messages": ["hi"]}, "invalid_type", "messages[0]", "expected an object, but got a string"),
    Bad({"messages": [{"content": "x"}]}, "missing_required_parameter", "messages[0].role", "role"),
    Bad({"messages": [{"role": "judge", "content": "x"}]}, "invalid_value", "messages[0].role", "'judge'"),
    Bad({"messages": [{"role": 1, "content": "x"}]}, "invalid_value", "messages[0].role", "1 is not one of"),
    Bad({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content", "content"),
    Bad(_user(None), "invalid_type", "messages[0].content", "null"),
    Bad(_user(5), "invalid_type", "messages[0].content", "expected a string or an array"),
    Bad(_user([]), "empty_array", "messages[0].content", "empty array"),
    Bad(_user([{"type": "text"}]), "missing_required_parameter", "messages[0].content[0].text", "text"),
    Bad(_user([{"text": "x"}]), "missing_required_parameter", "messages[0].content[0].type", "type"),
    Bad(
        _user([{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "http://x"}}]),
        "invalid_value",
        "messages[0].content[1].type",
        "'image_url' is not one of 'text'",
    ),
    Bad(
        _assistant(tool_calls=[{"id": "1", "type": "function", "function": {"arguments": "{}"}}]),
        "missing_required_parameter",
        "messages[1].tool_calls[0].function.name",
        "name",
    ),
    Bad(
        _assistant(tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": 7}}]),
        "invalid_type",
        _ARGUMENTS,
        "expected a string, but got an integer",
    ),
    Bad(
        _assistant(tool_calls=[{"id": "1", "type": "custom"}]),
        "invalid_value",
        "messages[1].tool_calls[0].type",
        "'custom'",
    ),
    Bad(
        {"messages": [{"role": "tool", "content": "4"}]},
        "missing_required_parameter",
        "messages[0].tool_call_id",
        "tool_call_id",
    ),
    Bad(
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": "4"}]},
        "invalid_value",
        "messages[0].tool_call_id",
        "no earlier tool call",
    ),
    Bad({"temprature": 1}, "unknown_parameter", "temprature", "'temprature'"),
    Bad({"temperature": 2.1}, "decimal_above_max_value", "temperature", "<= 2, but got 2.1"),
    Bad({"temperature": -1}, "decimal_below_min_value", "temperature", ">= 0, but got -1"),
    Bad({"temperature": "hot"}, "invalid_type", "temperature", "expected a decimal number"),
    Bad({"temperature": True}, "invalid_type", "temperature", "a boolean"),
    Bad({"top_p": 1.5}, "decimal_above_max_value", "top_p", "<= 1"),
    Bad({"n": 0}, "integer_below_min_value", "n", ">= 1"),
    Bad({"n": 129}, "integer_above_max_value", "n", "<= 128"),
    Bad({"n": 1.5}, "invalid_type", "n", "expected an integer, but got a decimal number"),
    Bad({"max_tokens": 0}, "integer_below_min_value", "max_tokens", ">= 1"),
    Bad({"max_completion_tokens": "9"}, "invalid_type", "max_completion_tokens", "an integer"),
    Bad({"max_tokens": 5, "max_completion_tokens": 5}, "invalid_value", "max_tokens", "can't be combined"),
    Bad({"presence_penalty": 3}, "decimal_above_max_value", "presence_penalty", "<= 2"),
    Bad({"frequency_penalty": -3}, "decimal_below_min_value", "frequency_penalty", ">= -2"),
    Bad({"stop": ["a", "b", "c", "d", "e"]}, "array_above_max_length", "stop", "4 elements"),
    Bad({"stop": ""}, "string_below_min_length", "stop", "too short"),
    Bad({"stop": 4}, "invalid_type", "stop", "expected a string or an array"),
    Bad({"stop": ["a", 1]}, "invalid_type", "stop[1]", "expected a string"),
    Bad({"seed": 2**63}, "integer_above_max_value", "seed", "<= 9223372036854775807"),
    Bad({"logit_bias": {"cat": 1}}, "invalid_value", "logit_bias", "'cat'"),
    Bad({"logit_bias": {"5": 101}}, "decimal_above_max_value", "logit_bias.5", "<= 100"),
    Bad({"top_logprobs": 3}, "invalid_value", "top_logprobs", "'logprobs' to be true"),
    Bad({"logprobs": True, "top_logprobs": 21}, "integer_above_max_value", "top_logprobs", "<= 20"),
    Bad({"logprobs": 1}, "invalid_type", "logprobs", "expected a boolean"),
    Bad({"stream": "yes"}, "invalid_type", "stream", "expected a boolean"),
    Bad(
        {"stream_options": {"include_usage": True}}, "invalid_value", "stream_options", "'stream' to be true"
    ),
    Bad(
        {"stream": True, "stream_options": {"usage": True}},
        "unknown_parameter",
        "stream_options.usage",
        "usage",
    ),
    Bad({"response_format": {"type": "yaml"}}, "invalid_value", "response_format.type", "'yaml'"),
    Bad(
        {"response_format": {"type": "json_schema"}},
        "missing_required_parameter",
        "response_format.json_schema",
        "json_schema",
    ),
    Bad(
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
        "invalid_value",
        "response_format.json_schema.name",
        "'a b'",
    ),
    Bad({"tools": [{"type": "telepathy"}]}, "invalid_value", "tools[0].type", "'telepathy'"),
    Bad({"tool_choice": "required"}, "invalid_value", "tool_choice", "requires 'tools'"),
    Bad(
        {"tools": [{"type": "custom", "custom": {"name": "c"}}], "tool_choice": "required"},
        "invalid_value",
        "tool_choice",
        "available here",
    ),
    Bad({"function_call": {"name": "f"}}, "invalid_value", "function_call", "requires 'functions'"),
    Bad(
        {"functions": [{"name": "f"}], "tools": [TOOL]},
        "invalid_value",
        "tools",
        "can't be combined with 'functions'",
    ),
    Bad({"functions": [{"name": "a b"}]}, "invalid_value", "functions[0].name", "'a b'"),
    Bad({"functions": [{"name": "f"}] * 2}, "invalid_value", "functions", "same name"),
    Bad(
        {"functions": [{"name": "f"}], "function_call": {"name": "g"}},
        "invalid_value",
        "function_call.name",
        "'g'",
    ),
    Bad(
        {"tools": [{"type": "function", "function": {}}]},
        "missing_required_parameter",
        "tools[0].function.name",
        "name",
    ),
    Bad({"tools": [TOOL, TOOL]}, "invalid_value", "tools", "same name"),
    Bad({"tools": [TOOL], "tool_choice": "must"}, "invalid_value", "tool_choice", "'must'"),
    Bad(
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "run"}}},
        "invalid_value",
        "tool_choice.function.name",
        "'run'",
    ),
    Bad({"audio": {"voice": "x"}}, "unsupported_parameter", "audio", "only text"),
    Bad({"modalities": ["audio"]}, "unsupported_value", "modalities", "['text']"),
    Bad({"web_search_options": {}}, "unsupported_parameter", "web_search_options", "web search"),
    Bad({"moderation": {"model": "m"}}, "unsupported_parameter", "moderation", "not available"),
    Bad({"service_tier": "gold"}, "invalid_value", "service_tier", "'gold'"),
    Bad({"reasoning_effort": "extreme"}, "invalid_value", "reasoning_effort", "'extreme'"),
    Bad({"metadata": {str(i): "x" for i in range(17)}}, "object_above_max_properties", "metadata", "16"),
    Bad({"metadata": {"a": 1}}, "invalid_type", "metadata.a", "expected a string"),
    Bad({"priority": -100}, "unsupported_parameter", "priority", "set by the platform"),
    Bad({"cache_salt": "other tenant"}, "unsupported_parameter", "cache_salt", "set by the platform"),
    Bad({"request_id": "x"}, "unsupported_parameter", "request_id", "set by the platform"),
    Bad({"chat_template": "{{ 1 }}"}, "unsupported_parameter", "chat_template", "own template"),
    Bad(
        {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}},
        "unsupported_parameter",
        "chat_template_kwargs.chat_template",
        "set by the platform",
    ),
    Bad(
        {"chat_template_kwargs": {"eos_token": "x" * 1000}},
        "unsupported_parameter",
        "chat_template_kwargs.eos_token",
        "set by the platform",
    ),
    Bad({"use_beam_search": True}, "unsupported_parameter", "use_beam_search", "not available"),
    Bad({"guided_json": {}}, "unsupported_parameter", "guided_json", "response_format"),
    Bad({"structured_outputs": {}}, "invalid_value", "structured_outputs", "exactly one"),
    Bad({"top_k": -2}, "integer_below_min_value", "top_k", ">= -1"),
    Bad({"repetition_penalty": 0.0}, "decimal_below_min_value", "repetition_penalty", ">= 0.01"),
    Bad(
        {"structured_outputs": {"grammar": "x"}},
        "unsupported_parameter",
        "structured_outputs.grammar",
        "regex",
    ),
    Bad(
        {"structured_outputs": {"structural_tag": "x"}},
        "unsupported_parameter",
        "structured_outputs.structural_tag",
        "regex",
    ),
    Bad(
        {"structured_outputs": {"regex": "(a{9}b{300})"}},
        "invalid_value",
        "structured_outputs.regex",
        "above 256",
    ),
    Bad(
        {"structured_outputs": {"json": {"$ref": "#"}}},
        "invalid_value",
        "structured_outputs.json.$ref",
        "only to itself",
    ),
    Bad({"temperature": 10**400}, "decimal_above_max_value", "temperature", "<="),
    Bad({"temperature": -(10**400)}, "decimal_below_min_value", "temperature", ">="),
    Bad(
        {"chat_template_kwargs": {"self": 1}},
        "unsupported_parameter",
        "chat_template_kwargs.self",
        "platform",
    ),
    Bad({"allowed_token_ids": [1] * 1025}, "array_above_max_length", "allowed_token_ids", "1024"),
    Bad(
        {"logit_bias": {str(token): 1 for token in range(301)}},
        "object_above_max_properties",
        "logit_bias",
        "300",
    ),
    Bad({"logit_bias": {"007": 1}}, "invalid_value", "logit_bias", "'007'"),
    Bad({"max_tokens": 2, "min_tokens": 3}, "invalid_value", "min_tokens", "limit of 2 completion tokens"),
    Bad({**_REGEX, "allowed_token_ids": [5]}, "invalid_value", "allowed_token_ids", "a constraint"),
    Bad({**_REGEX, "bad_words": ["a"]}, "invalid_value", "bad_words", "a constraint"),
    Bad({**_REGEX, "min_tokens": 1}, "invalid_value", "min_tokens", "a constraint"),
    Bad(
        {"tools": [TOOL], "tool_choice": "required", "bad_words": ["a"]},
        "invalid_value",
        "bad_words",
        "a constraint",
    ),
    Bad(
        {"structured_outputs": {"regex": "a\\"}},
        "invalid_value",
        "structured_outputs.regex",
        "incomplete escape",
    ),
    Bad(
        {"structured_outputs": {"json_object": False}},
        "invalid_value",
        "structured_outputs.json_object",
        "expected true",
    ),
    Bad({"continue_final_message": True}, "invalid_value", "continue_final_message", "to be false"),
    Bad(_call('{"a": "\\ud800"}'), "invalid_value", _ARGUMENTS, "unpaired surrogate"),
    Bad(_call('{"a": ' + "9" * 4301 + "}"), "invalid_value", _ARGUMENTS, "too long"),
    Bad(_call("[" * 65), "invalid_value", _ARGUMENTS, "64 levels"),
    Bad({f"x{number}": 1 for number in range(300)}, "invalid_request", "x254", "256 parameters"),
    Bad({"<script>": 1}, "unknown_parameter", "<script>", "<script>"),
]

COMPLETIONS = [
    Bad({"prompt": ...}, "missing_required_parameter", "prompt", "'prompt'"),
    Bad({"prompt": ""}, "string_below_min_length", "prompt", "too short"),
    Bad({"prompt": []}, "empty_array", "prompt", "empty array"),
    Bad({"prompt": 3}, "invalid_type", "prompt", "expected a string or an array"),
    Bad({"prompt": ["a", 3]}, "invalid_type", "prompt[1]", "expected a string"),
    Bad({"prompt": [1, "a"]}, "invalid_type", "prompt[1]", "expected an integer"),
    Bad({"prompt": [[1], []]}, "empty_array", "prompt[1]", "empty array"),
    Bad({"prompt": [-1]}, "integer_below_min_value", "prompt[0]", ">= 0"),
    Bad({"suffix": "end"}, "unsupported_parameter", "suffix", "infilling"),
    Bad({"logprobs": 6}, "integer_above_max_value", "logprobs", "<= 5"),
    Bad({"logprobs": True}, "invalid_type", "logprobs", "expected an integer"),
    Bad({"max_tokens": 0}, "integer_below_min_value", "max_tokens", ">= 1"),
    Bad({"best_of": 3}, "unsupported_value", "best_of", "equal to 'n'"),
    Bad({"messages": []}, "unknown_parameter", "messages", "'messages'"),
    Bad({"truncate_prompt_tokens": 5}, "unsupported_parameter", "truncate_prompt_tokens", "never truncated"),
]

BAD_REQUESTS = [(calls.CHAT, bad) for bad in CHAT]
BAD_REQUESTS += [(calls.COMPLETIONS, bad) for bad in COMPLETIONS]
