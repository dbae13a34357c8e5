"""Prompts of conversations, compared token by token with transformers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.effects.endpoints import Endpoints, Json
from tests.stacks import RunningStack

USER: Json = {"role": "user", "content": "How is it in Rome?"}
SYSTEM: Json = {"role": "system", "content": "Be brief."}
DEVELOPER: Json = {"role": "developer", "content": "Be brief."}
TOOL: Json = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL: Json = {"name": "weather", "arguments": {"city": "Rome – Zürich"}}
SENT_CALL: Json = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": json.dumps(CALL["arguments"])},
}
TEMPLATE_CALL: Json = {**SENT_CALL, "function": CALL}


def _parts(*texts: str) -> list[Json]:
    return [{"type": "text", "text": text} for text in texts]


def _prompt(ask: Endpoints, tokenizer: Any, **fields: Any) -> str:
    """Return the engine's prompt, decoded from the token ids in the response."""
    answer = ask.chat(**{"chat_template_kwargs": None, "max_tokens": 1, "return_token_ids": True, **fields})
    assert answer["usage"]["prompt_tokens"] == len(answer["prompt_token_ids"])
    return str(tokenizer.decode(answer["prompt_token_ids"], skip_special_tokens=False))


CONVERSATIONS: list[tuple[list[Json], list[Json]]] = [
    ([USER], [USER]),
    ([SYSTEM, USER], [SYSTEM, USER]),
    ([DEVELOPER, USER], [SYSTEM, USER]),
    ([{**USER, "content": _parts("How is it in Rome?")}], [USER]),
    (
        [{**USER, "content": _parts("one", "two")}, {"role": "assistant", "content": "three"}, USER],
        [{**USER, "content": "one\ntwo"}, {"role": "assistant", "content": "three"}, USER],
    ),
    (
        [{"role": "developer", "content": _parts("Be", "brief.")}, USER],
        [{"role": "system", "content": "Be\nbrief."}, USER],
    ),
    (
        [USER, {"role": "assistant", "content": _parts("Let me see.")}, {**USER, "name": "ann"}],
        [USER, {"role": "assistant", "content": "Let me see."}, USER],
    ),
    (
        [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [SENT_CALL, SENT_CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": _parts("rain")},
        ],
        [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [TEMPLATE_CALL, TEMPLATE_CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ],
    ),
    (
        [USER, {"role": "assistant", "content": "So.", "tool_calls": [SENT_CALL]}, USER],
        [USER, {"role": "assistant", "content": "So.", "tool_calls": [TEMPLATE_CALL]}, USER],
    ),
]


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "messages")
@pytest.mark.parametrize(("messages", "equivalent"), CONVERSATIONS)
def test_the_prompt_is_the_conversation_in_the_chat_template(
    ask: Endpoints, tokenizer: Any, chat_template: str, messages: list[Json], equivalent: list[Json]
) -> None:
    reference = tokenizer.apply_chat_template(
        equivalent, chat_template=chat_template, tokenize=False, add_generation_prompt=True
    )
    assert _prompt(ask, tokenizer, messages=messages) == reference


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "messages")
def test_developer_messages_become_one_system_message_at_the_start(ask: Endpoints, tokenizer: Any) -> None:
    prompt = _prompt(
        ask, tokenizer, messages=[DEVELOPER, USER, {"role": "developer", "content": "In verse."}]
    )
    assert "named SmolLM" not in prompt
    assert "<|im_start|>developer" not in prompt
    assert prompt.index("Be brief.") < prompt.index("In verse.") < prompt.index("<|im_start|>user")
    assert "named SmolLM" in _prompt(ask, tokenizer, messages=[USER])


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "tools")
def test_tools_are_in_the_prompt(ask: Endpoints, tokenizer: Any, chat_template: str) -> None:
    prompt = _prompt(ask, tokenizer, messages=[SYSTEM, USER], tools=[TOOL])
    reference = tokenizer.apply_chat_template(
        [SYSTEM, USER],
        tools=[TOOL],
        chat_template=chat_template,
        tokenize=False,
        add_generation_prompt=True,
    )
    tools = [
        json.loads(line) for text in (prompt, reference) for line in text.splitlines() if "Tells" in line
    ]
    assert [tool["name"] for tool in tools] == ["weather", "weather"]
    assert tools[0]["parameters"] == tools[1]["parameters"] == TOOL["function"]["parameters"]
    assert prompt.split("<tools>")[0] == reference.split("<tools>")[0]
    assert prompt.split("</tools>")[1] == reference.split("</tools>")[1]


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "add_generation_prompt", "continue_final_message")
def test_the_last_assistant_message_can_be_continued(ask: Endpoints, tokenizer: Any) -> None:
    messages = [USER, {"role": "assistant", "content": "It is"}]
    continuation = {"continue_final_message": True, "add_generation_prompt": False}
    assert _prompt(ask, tokenizer, messages=messages, **continuation).endswith("<|im_start|>assistant\nIt is")
    prompt = _prompt(ask, tokenizer, messages=messages, add_generation_prompt=False)
    assert prompt.endswith("<|im_start|>assistant\nIt is<|im_end|>\n")
    assert _prompt(ask, tokenizer, messages=messages).endswith("It is<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "chat_template_kwargs", "reasoning_effort")
def test_template_variables_and_reasoning_effort_are_in_the_prompt(ask: Endpoints, tokenizer: Any) -> None:
    plain = _prompt(ask, tokenizer, messages=[USER])
    prompt = _prompt(ask, tokenizer, messages=[USER], chat_template_kwargs={"tone": "dry"})
    assert prompt == "<|im_start|>tone\ndry<|im_end|>\n" + plain
    for effort in ("low", "high"):
        prompt = _prompt(ask, tokenizer, messages=[USER], reasoning_effort=effort)
        assert prompt == f"<|im_start|>effort\n{effort}<|im_end|>\n" + plain
    direct = _prompt(ask, tokenizer, messages=[USER], reasoning_effort="none")
    assert direct.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert direct == _prompt(
        ask,
        tokenizer,
        messages=[USER],
        reasoning_effort="none",
        chat_template_kwargs={"enable_thinking": False},
    )


@pytest.mark.criterion("1.1", "1.2")
@pytest.mark.honours("chat", "return_token_ids")
@pytest.mark.honours("completions", "return_token_ids", "prompt", "echo")
def test_token_ids_of_prompt_and_response_are_returned_on_request(ask: Endpoints, tokenizer: Any) -> None:
    answer = ask.chat(return_token_ids=True, max_tokens=4, ignore_eos=True)
    choice = answer["choices"][0]
    assert tokenizer.decode(choice["token_ids"]) == choice["message"]["content"]
    assert ask.chat().get("prompt_token_ids") is None
    ids = tokenizer.encode("The sea, das Meer, 海", add_special_tokens=False)
    for prompt in ("The sea, das Meer, 海", ids, ["The sea, das Meer, 海"], [ids]):
        choice = ask.complete(prompt, return_token_ids=True, add_special_tokens=False)["choices"][0]
        assert choice["prompt_token_ids"] == ids
    text = ask.text("The sea", echo=True, max_tokens=4, ignore_eos=True)
    assert text == "The sea" + ask.text("The sea", max_tokens=4, ignore_eos=True)


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "add_special_tokens")
@pytest.mark.honours("completions", "add_special_tokens")
def test_special_tokens_are_added_to_texts_and_on_request_to_chats(ask: Endpoints, tokenizer: Any) -> None:
    bare = tokenizer.encode("The sea", add_special_tokens=False)
    for flag, reference in ((None, [tokenizer.bos_token_id, *bare]), (False, bare)):
        choice = ask.complete(return_token_ids=True, add_special_tokens=flag)["choices"][0]
        assert choice["prompt_token_ids"] == reference
    chat = ask.chat(return_token_ids=True)["prompt_token_ids"]
    assert ask.chat(return_token_ids=True, add_special_tokens=False)["prompt_token_ids"] == chat
    more = ask.chat(return_token_ids=True, add_special_tokens=True)["prompt_token_ids"]
    assert more == [tokenizer.bos_token_id, *chat]


@pytest.mark.case("serving.32")
@pytest.mark.criterion("1.7")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_conversation_beyond_the_context_is_rejected_with_both_numbers(
    ask: Endpoints, stack: RunningStack, streamed: bool
) -> None:
    """Special tokens count as well."""
    text = "sea " * 1100
    for path, part, prompt in (
        ("chat/completions", "messages", {"messages": [{"role": "user", "content": text}]}),
        ("completions", "prompt", {"prompt": text}),
        ("completions", "prompt", {"prompt": text, "add_special_tokens": False}),
    ):
        with stack.client() as client:
            tokens = client.post("/tokenize", json={"model": "tiny", **prompt}).json()["count"]
        error = ask.refusal(path, **prompt, stream=streamed)
        assert (error["code"], error["param"]) == ("context_length_exceeded", part)
        assert "1024 tokens" in error["message"]
        assert f"{tokens + 12} tokens ({tokens} in the {part}, 12 in the completion)" in error["message"]
        assert tokens > 1100
