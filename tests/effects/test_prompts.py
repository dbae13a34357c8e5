"""What the model sees of a conversation, token by token, against the library that made the template."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.effects.asking import Asking, Json
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
SEEN_CALL: Json = {**SENT_CALL, "function": CALL}


def _parts(*texts: str) -> list[Json]:
    return [{"type": "text", "text": text} for text in texts]


def _seen(ask: Asking, tokenizer: Any, **fields: Any) -> str:
    """The prompt as the engine had it, out of the ids that it gives back."""
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
            {"role": "assistant", "content": "", "tool_calls": [SEEN_CALL, SEEN_CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ],
    ),
    (
        [USER, {"role": "assistant", "content": "So.", "tool_calls": [SENT_CALL]}, USER],
        [USER, {"role": "assistant", "content": "So.", "tool_calls": [SEEN_CALL]}, USER],
    ),
]


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "messages")
@pytest.mark.parametrize(("sent", "meant"), CONVERSATIONS)
def test_the_model_sees_the_conversation_as_its_template_writes_it(
    ask: Asking, tokenizer: Any, chat_template: str, sent: list[Json], meant: list[Json]
) -> None:
    expected = tokenizer.apply_chat_template(
        meant, chat_template=chat_template, tokenize=False, add_generation_prompt=True
    )
    assert _seen(ask, tokenizer, messages=sent) == expected


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "messages")
def test_a_developer_replaces_the_system_and_all_instructions_come_first(ask: Asking, tokenizer: Any) -> None:
    seen = _seen(ask, tokenizer, messages=[DEVELOPER, USER, {"role": "developer", "content": "In verse."}])
    assert "named SmolLM" not in seen
    assert "<|im_start|>developer" not in seen
    assert seen.index("Be brief.") < seen.index("In verse.") < seen.index("<|im_start|>user")
    assert "named SmolLM" in _seen(ask, tokenizer, messages=[USER])


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "tools")
def test_the_model_sees_its_tools(ask: Asking, tokenizer: Any, chat_template: str) -> None:
    seen = _seen(ask, tokenizer, messages=[SYSTEM, USER], tools=[TOOL])
    expected = tokenizer.apply_chat_template(
        [SYSTEM, USER],
        tools=[TOOL],
        chat_template=chat_template,
        tokenize=False,
        add_generation_prompt=True,
    )
    described = [
        json.loads(line) for text in (seen, expected) for line in text.splitlines() if "Tells" in line
    ]
    assert [tool["name"] for tool in described] == ["weather", "weather"]
    assert described[0]["parameters"] == described[1]["parameters"] == TOOL["function"]["parameters"]
    assert seen.split("<tools>")[0] == expected.split("<tools>")[0]
    assert seen.split("</tools>")[1] == expected.split("</tools>")[1]


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "add_generation_prompt", "continue_final_message")
def test_a_last_message_of_the_assistant_can_be_gone_on_with(ask: Asking, tokenizer: Any) -> None:
    begun = [USER, {"role": "assistant", "content": "It is"}]
    going_on = {"continue_final_message": True, "add_generation_prompt": False}
    assert _seen(ask, tokenizer, messages=begun, **going_on).endswith("<|im_start|>assistant\nIt is")
    closed = _seen(ask, tokenizer, messages=begun, add_generation_prompt=False)
    assert closed.endswith("<|im_start|>assistant\nIt is<|im_end|>\n")
    assert _seen(ask, tokenizer, messages=begun).endswith("It is<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "chat_template_kwargs", "reasoning_effort")
def test_variables_of_the_template_and_the_effort_reach_the_prompt(ask: Asking, tokenizer: Any) -> None:
    plain = _seen(ask, tokenizer, messages=[USER])
    toned = _seen(ask, tokenizer, messages=[USER], chat_template_kwargs={"tone": "dry"})
    assert toned == "<|im_start|>tone\ndry<|im_end|>\n" + plain
    for effort in ("low", "high"):
        seen = _seen(ask, tokenizer, messages=[USER], reasoning_effort=effort)
        assert seen == f"<|im_start|>effort\n{effort}<|im_end|>\n" + plain
    direct = _seen(ask, tokenizer, messages=[USER], reasoning_effort="none")
    assert direct.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert direct == _seen(
        ask,
        tokenizer,
        messages=[USER],
        reasoning_effort="none",
        chat_template_kwargs={"enable_thinking": False},
    )


@pytest.mark.criterion("1.1", "1.2")
@pytest.mark.honours("chat", "return_token_ids")
@pytest.mark.honours("completions", "return_token_ids", "prompt", "echo")
def test_tokens_of_prompt_and_answer_are_given_back_when_asked_for(ask: Asking, tokenizer: Any) -> None:
    answer = ask.chat(return_token_ids=True, max_tokens=4, ignore_eos=True)
    choice = answer["choices"][0]
    assert tokenizer.decode(choice["token_ids"]) == choice["message"]["content"]
    assert ask.chat().get("prompt_token_ids") is None
    ids = tokenizer.encode("The sea, das Meer, 海", add_special_tokens=False)
    for prompt in ("The sea, das Meer, 海", ids, ["The sea, das Meer, 海"], [ids]):
        found = ask.complete(prompt, return_token_ids=True, add_special_tokens=False)["choices"][0]
        assert found["prompt_token_ids"] == ids
    text = ask.text("The sea", echo=True, max_tokens=4, ignore_eos=True)
    assert text == "The sea" + ask.text("The sea", max_tokens=4, ignore_eos=True)


@pytest.mark.criterion("1.9")
@pytest.mark.honours("chat", "add_special_tokens")
@pytest.mark.honours("completions", "add_special_tokens")
def test_the_tokenizers_own_tokens_are_added_to_texts_and_to_chats_if_asked_for(
    ask: Asking, tokenizer: Any
) -> None:
    bare = tokenizer.encode("The sea", add_special_tokens=False)
    for added, expected in ((None, [tokenizer.bos_token_id, *bare]), (False, bare)):
        found = ask.complete(return_token_ids=True, add_special_tokens=added)["choices"][0]
        assert found["prompt_token_ids"] == expected
    chat = ask.chat(return_token_ids=True)["prompt_token_ids"]
    assert ask.chat(return_token_ids=True, add_special_tokens=False)["prompt_token_ids"] == chat
    more = ask.chat(return_token_ids=True, add_special_tokens=True)["prompt_token_ids"]
    assert more == [tokenizer.bos_token_id, *chat]


@pytest.mark.case("serving.32")
@pytest.mark.criterion("1.7")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_conversation_beyond_the_context_is_refused_with_both_numbers(
    ask: Asking, stack: RunningStack, streamed: bool
) -> None:
    """The tokens that a tokenizer adds by itself count as well."""
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
