"""Valid requests with every parameter of an endpoint: the seeds of the mutations."""

from __future__ import annotations

from typing import Any, TypeAlias

Body: TypeAlias = dict[str, Any]

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
TOKENIZE = "/v1/tokenize"
RESPONSES = "/v1/responses"
# The parameter that limits the length of a response.
LIMITS = {CHAT: "max_tokens", COMPLETIONS: "max_tokens", RESPONSES: "max_output_tokens"}
DETOKENIZE = "/v1/detokenize"
# Text that no log line and no record may contain.
CANARY = "canary-of-a-prompt"

_FUNCTION: Body = {
    "name": "look",
    "description": "Looks at something",
    "strict": True,
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
}
_TOOL = {"type": "function", "function": _FUNCTION}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "the sky"}'}}
_TALK = [
    {"role": "system", "content": f"You keep {CANARY}.", "name": "ops"},
    {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "assistant", "content": None, "tool_calls": [_CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "blue"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "refusal": None},
    {"role": "user", "content": f"What is {CANARY}?"},
]
_SAMPLING: Body = {
    "temperature": 0.7,
    "top_p": 0.9,
    "n": 2,
    "stop": ["stop here", "\n\n"],
    "seed": 7,
    "presence_penalty": 0.1,
    "frequency_penalty": -0.1,
    "logit_bias": {"5": -100, "49151": 1.5},
    "user": "somebody",
    "top_k": 40,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "min_tokens": 1,
    "ignore_eos": False,
    "stop_token_ids": [2, 49151],
    "bad_words": ["bad", " worse"],
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "include_stop_str_in_output": False,
    "add_special_tokens": False,
    "return_token_ids": False,
}
_TEMPLATE: Body = {
    "add_generation_prompt": True,
    "continue_final_message": False,
    "add_special_tokens": False,
    "chat_template_kwargs": {"enable_thinking": False, "style": "plain"},
}
_USER = [{"role": "user", "content": f"hello {CANARY}"}]


def _chat(**fields: Any) -> tuple[str, Body]:
    return CHAT, {"model": "tiny", "messages": _USER, "max_tokens": 3, **fields}


def _completion(**fields: Any) -> tuple[str, Body]:
    return COMPLETIONS, {"model": "tiny", "prompt": f"once {CANARY}", "max_tokens": 3, **fields}


def _response(**fields: Any) -> tuple[str, Body]:
    return RESPONSES, {
        "model": "tiny",
        "input": f"hello {CANARY}",
        "max_output_tokens": 3,
        "store": False,
        **fields,
    }


def _responses() -> list[tuple[str, Body]]:
    sampling = {name: value for name, value in _SAMPLING.items() if name not in ("n", "return_token_ids")}
    items = [
        {"type": "message", "role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": f"What is {CANARY}?"}]},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "blue"},
    ]
    return [
        _response(),
        _response(
            **sampling,
            input=items,
            instructions=f"You keep {CANARY}.",
            tools=[{"type": "function", **_FUNCTION}],
            tool_choice="none",
            parallel_tool_calls=True,
            include=["message.output_text.logprobs"],
            top_logprobs=2,
            reasoning={"effort": "low"},
            truncation="disabled",
            service_tier="auto",
            metadata={"team": "sky"},
            text={"format": {"type": "text"}, "verbosity": "medium"},
        ),
        _response(stream=True, stream_options={"include_obfuscation": False, "on_disconnect": "cancel"}),
        _response(background=True, store=True, text={"format": {"type": "json_object"}}),
    ]


def seeds() -> list[tuple[str, Body]]:
    """Return paths and bodies. The stack's tiny model responds to each with 200."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    json_schema = {"name": "answer", "description": "An answer", "schema": schema, "strict": True}
    return [
        _chat(),
        _chat(**_SAMPLING, logprobs=True, top_logprobs=2),
        _chat(messages=_TALK, **_SAMPLING, parallel_tool_calls=True, tools=[_TOOL], tool_choice="none"),
        _chat(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": False}),
        _chat(messages=_TALK, stream=True, n=2, logprobs=True, top_logprobs=0),
        _chat(
            reasoning_effort="low",
            metadata={"team": "sky"},
            safety_identifier="somebody",
            prompt_cache_key="sky",
            store=False,
            service_tier="auto",
            modalities=["text"],
            verbosity="medium",
        ),
        _chat(**_TEMPLATE, include_reasoning=True),
        _chat(add_generation_prompt=False, continue_final_message=True, allowed_token_ids=[5, 6, 7]),
        _chat(response_format={"type": "json_schema", "json_schema": json_schema}),
        _chat(structured_outputs={"choice": ["yes", "no"]}),
        _chat(structured_outputs={"regex": "[a-c]{1,3}"}),
        _completion(),
        _completion(**_SAMPLING, logprobs=2, echo=True, best_of=2),
        _completion(prompt=[1, 2, 3], stream=True, stream_options={"include_usage": False}),
        _completion(prompt=["a", "b"], n=2, stream=True, logprobs=0),
        _completion(prompt=[[5, 6], [7]], echo=True, max_tokens=0),
        _completion(response_format={"type": "json_object"}),
        (TOKENIZE, {"model": "tiny", "prompt": f"once {CANARY}", "return_token_strs": True}),
        (TOKENIZE, {"model": "tiny", "messages": _TALK, "tools": [_TOOL], **_TEMPLATE}),
        (DETOKENIZE, {"model": "tiny", "tokens": [1, 2, 49151]}),
        *_responses(),
    ]
