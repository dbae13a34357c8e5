"""The less common shapes of examples become the same typed examples."""

from __future__ import annotations

import io
import json

import pytest

from tests.training.datasets.faulty_lines import CALLED
from training.datasets.examples import ChatExample, Example, PreferenceExample
from training.datasets.faults import Fault
from training.datasets.reading import Reading, read_examples

ASK = {"role": "user", "content": "a"}
YES, NO = ({"role": "assistant", "content": text} for text in ("yes", "no"))


def _read(value: object) -> list[Example | Fault]:
    return list(read_examples(io.BytesIO(json.dumps(value).encode()), Reading()))


def _codes(value: object) -> list[tuple[str, str]]:
    return [(item.path, item.code) for item in _read(value) if isinstance(item, Fault)]


def _turns(example: Example | Fault) -> list[tuple[str, str, bool]]:
    assert isinstance(example, ChatExample)
    return [(message.role, message.content, message.is_trained) for message in example.messages]


def test_calls_and_typed_parts_are_read() -> None:
    (example,) = _read(CALLED)
    assert isinstance(example, ChatExample)
    assert [tool["type"] for tool in example.tools] == ["function", "function"]
    assert example.messages[1].content == "Weather in Rome?"
    assert [(call.name, call.arguments) for call in example.messages[2].tool_calls] == [
        ("weather", {}),
        ("time", {"a": 1}),
    ]
    assert [message.is_trained for message in example.messages if message.role == "assistant"] == [
        True,
        True,
        False,
    ]
    assert example.messages[7].reasoning == "hm"


def test_an_alpaca_input_follows_the_instruction() -> None:
    value = {"instruction": "Translate.", "input": "chat", "output": "cat", "system": "Be brief."}
    (example,) = _read(value)
    assert _turns(example) == [
        ("system", "Be brief.", False),
        ("user", "Translate.\n\nchat", False),
        ("assistant", "cat", True),
    ]


def test_a_prompt_of_messages_is_context_and_its_completion_is_trained() -> None:
    (example,) = _read({"prompt": [ASK, YES, ASK], "completion": [NO]})
    assert [is_trained for _, _, is_trained in _turns(example)] == [False, False, False, True]


def test_a_system_field_and_weights_of_sharegpt_are_read() -> None:
    turns: list[dict[str, object]] = [
        {"from": "human", "value": "a"},
        {"from": "gpt", "value": "b", "weight": 0},
        {"from": "human", "value": "c"},
        {"from": "gpt", "value": "d"},
    ]
    (example,) = _read({"conversations": turns, "system": "s"})
    assert _turns(example)[0] == ("system", "s", False)
    assert [is_trained for _, _, is_trained in _turns(example)[1:]] == [False, False, False, True]
    assert _codes({"conversations": [{**turns[0], "weight": 3}, turns[3]]}) == [
        ("conversations[0].weight", "unknown_value")
    ]


@pytest.mark.parametrize(
    "value",
    [
        {"input": {"messages": [ASK]}, "preferred_output": [YES], "non_preferred_output": [NO]},
        {"prompt": [ASK], "chosen": [YES], "rejected": [NO]},
        {"chosen": [ASK, YES], "rejected": [ASK, NO]},
        {"prompt": "a", "chosen": "yes", "rejected": "no"},
    ],
)
def test_all_shapes_of_pairs_are_the_same_pair(value: dict[str, object]) -> None:
    (example,) = _read(value)
    assert isinstance(example, PreferenceExample)
    assert [message.content for message in example.prompt] == ["a"]
    assert (example.chosen.content, example.rejected.content) == ("yes", "no")
    assert example.chosen.is_trained
    assert example.rejected.is_trained


@pytest.mark.parametrize(
    ("value", "path", "code"),
    [
        ({"chosen": [ASK, YES], "rejected": [NO]}, "prompt", "missing"),
        ({"prompt": [ASK], "chosen": [YES, ASK], "rejected": [NO]}, "chosen", "not_one_answer"),
        (
            {"prompt": [ASK], "chosen": [{**YES, "weight": 0}], "rejected": [NO]},
            "chosen[0].weight",
            "misplaced",
        ),
        ({"prompt": "a", "chosen": [YES], "rejected": [NO]}, "prompt", "wrong_type"),
        ({"preferred_output": [YES], "non_preferred_output": [NO]}, "input", "missing"),
    ],
)
def test_pairs_that_are_none(value: dict[str, object], path: str, code: str) -> None:
    assert (path, code) in _codes(value)


def test_a_call_must_be_answered_before_the_conversation_goes_on() -> None:
    messages = [message for message in CALLED["messages"] if message.get("tool_call_id") != "c2"]
    assert _codes({**CALLED, "messages": messages}) == [("messages[2].tool_calls", "unanswered_call")]


def test_a_call_at_the_end_needs_no_answer() -> None:
    (example,) = _read({**CALLED, "messages": CALLED["messages"][:3]})
    assert isinstance(example, ChatExample)


def test_a_result_that_was_given_already_is_a_fault() -> None:
    messages = [*CALLED["messages"][:5], CALLED["messages"][4], *CALLED["messages"][5:]]
    assert _codes({**CALLED, "messages": messages}) == [("messages[5].tool_call_id", "unknown_call")]
