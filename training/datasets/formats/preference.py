"""Preference pairs: OpenAI's format for DPO, and prompt, chosen and rejected as in TRL."""

from __future__ import annotations

import msgspec

from training.datasets.examples import Message, PreferenceExample
from training.datasets.faults import describe, join_path
from training.datasets.formats.chat import check_boolean, read_messages
from training.datasets.formats.fields import Fields
from training.datasets.formats.messages import MAX_MESSAGES, check_calls, read_tools

PREFERENCE_FIELDS = ("input", "preferred_output", "non_preferred_output")
TRL_FIELDS = ("prompt", "chosen", "rejected")
_INPUT_FIELDS = ("messages", "tools", "parallel_tool_calls")
_ONE_ANSWER = 'an array of one message of the role "assistant"'


def read_preference(fields: Fields) -> PreferenceExample | None:
    """Return a pair in OpenAI's format, or None after reporting its faults."""
    value = fields.value.get("input")
    prompt: list[object] | None = None
    tools: tuple[dict[str, object], ...] = ()
    inner: Fields | None = None
    if isinstance(value, dict):
        inner = Fields(value, fields.at("input"), fields.faults)
        inner.only(_INPUT_FIELDS)
        tools = read_tools(inner)
        check_boolean(inner, "parallel_tool_calls")
        prompt = inner.array("messages", "an array of messages", max_length=MAX_MESSAGES)
    elif "input" in fields.value:
        fields.fault("input", "wrong_type", 'an object {"messages": …}')
    else:
        fields.missing("input", 'an object {"messages": …}')
    preferred_items = fields.array("preferred_output", _ONE_ANSWER)
    other = fields.array("non_preferred_output", _ONE_ANSWER)
    if inner is None:
        return None
    outputs = (("preferred_output", preferred_items), ("non_preferred_output", other))
    return _pair(fields, inner.at("messages"), prompt, outputs, tools)


def read_trl(fields: Fields) -> PreferenceExample | None:
    """Return a pair in TRL's format: texts, messages, or whole conversations without a prompt."""
    names = ("chosen", "rejected")
    if any(isinstance(fields.value.get(name), list) for name in TRL_FIELDS):
        chosen, rejected = (
            fields.array(name, "an array of messages", max_length=MAX_MESSAGES) for name in names
        )
        prompt, path = _prompt(fields, chosen, rejected)
        start = 0 if "prompt" in fields.value else len(prompt or ())
        outputs = tuple(zip(names, (chosen, rejected), strict=True))
        return _pair(fields, path, prompt, outputs, (), start)
    prompt_text = fields.text("prompt", may_be_empty=False)
    texts = [fields.text(name, may_be_empty=False) for name in names]
    if prompt_text is None or None in texts:
        return None
    answers = [Message(role="assistant", content=text or "", is_trained=True) for text in texts]
    example = PreferenceExample(
        line=fields.faults.line,
        prompt=(Message(role="user", content=prompt_text),),
        chosen=answers[0],
        rejected=answers[1],
        paths=(fields.at("prompt"),),
        is_completion=True,
    )
    return _checked(example, fields)


def _prompt(
    fields: Fields, chosen: list[object] | None, rejected: list[object] | None
) -> tuple[list[object] | None, str]:
    """Return the prompt's messages and their path; without a prompt, what both conversations begin with."""
    if "prompt" in fields.value:
        expected = "an array of messages, like chosen and rejected"
        return fields.array("prompt", expected, max_length=MAX_MESSAGES), fields.at("prompt")
    if chosen is None or rejected is None:
        return None, fields.at("chosen")
    prompt_length = 0
    while (
        prompt_length < min(len(chosen), len(rejected)) - 1
        and chosen[prompt_length] == rejected[prompt_length]
    ):
        prompt_length += 1
    if prompt_length == 0:
        fields.fault("prompt", "missing", "a prompt, or the same first messages in chosen and rejected")
        return None, fields.at("chosen")
    return chosen[:prompt_length], fields.at("chosen")


def _pair(
    fields: Fields,
    prompt_path: str,
    prompt: list[object] | None,
    outputs: tuple[tuple[str, list[object] | None], ...],
    tools: tuple[dict[str, object], ...],
    start: int = 0,
) -> PreferenceExample | None:
    faults = fields.faults
    messages, paths = read_messages(prompt or [], prompt_path, faults)
    answers = [_answer(fields, name, items, start) for name, items in outputs]
    for answer, (name, _) in zip(answers, outputs, strict=True):
        check_calls([*messages, answer], [*paths, f"{fields.at(name)}[{start}]"], tools, faults)
    last = messages[-1] if messages else None
    if last is not None and last.role == "assistant":
        found = 'a message of the role "assistant" at the end of the prompt'
        faults.add(paths[-1], "prompt_ends_with_answer", found, "a message of another role")
    chosen, rejected = answers
    if faults.items or chosen is None or rejected is None or prompt is None:
        return None
    example = PreferenceExample(
        line=faults.line,
        prompt=tuple(_untrained(message) for message in messages if message is not None),
        chosen=chosen,
        rejected=rejected,
        tools=tools,
        paths=tuple(paths),
        chosen_path=f"{fields.at(outputs[0][0])}[{start}]",
        rejected_path=f"{fields.at(outputs[1][0])}[{start}]",
        tools_path=join_path(fields.at("input"), "tools"),
    )
    return _checked(example, fields)


def _answer(fields: Fields, name: str, items: list[object] | None, start: int) -> Message | None:
    if items is None:
        return None
    if len(items) != start + 1:
        fields.fault(name, "not_one_answer", _ONE_ANSWER, found=describe(items[start:]))
        return None
    answers, paths = read_messages(items, fields.at(name), fields.faults)
    answer = answers[start]
    if answer is not None and answer.role != "assistant":
        fields.faults.add(f"{paths[start]}.role", "unknown_value", f'"{answer.role}"', '"assistant"')
        return None
    if answer is not None and not answer.is_trained:
        fields.faults.add(f"{paths[start]}.weight", "misplaced", "weight 0", "no weight in a preference pair")
        return None
    return answer


def _untrained(message: Message) -> Message:
    if not message.is_trained:
        return message
    return msgspec.structs.replace(message, is_trained=False)


def _checked(example: PreferenceExample, fields: Fields) -> PreferenceExample | None:
    chosen, rejected = example.chosen, example.rejected
    if (chosen.content, chosen.tool_calls) == (rejected.content, rejected.tool_calls):
        fields.faults.add(
            example.rejected_path, "equal_answers", "the same answer as the preferred one", "another answer"
        )
        return None
    return example
