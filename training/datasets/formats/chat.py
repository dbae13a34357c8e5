"""Conversations: OpenAI's chat format and ShareGPT."""

from __future__ import annotations

from training.datasets.examples import ChatExample, Json, Message, Role
from training.datasets.faults import LineFaults, quote
from training.datasets.formats.fields import Fields, objects
from training.datasets.formats.messages import MAX_MESSAGES, check_calls, read_message, read_tools

CHAT_FIELDS = ("messages", "tools", "parallel_tool_calls")
_DEPRECATED = ("functions", "function_call")
SHAREGPT_FIELDS = ("conversations", "system")
_SPEAKERS: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}


def read_chat(fields: Fields) -> ChatExample | None:
    """Return an example in OpenAI's chat format, or None after reporting its faults."""
    _refuse_deprecated(fields)
    tools = read_tools(fields)
    check_boolean(fields, "parallel_tool_calls")
    items = fields.array("messages", "an array of messages", max_length=MAX_MESSAGES)
    if items is None:
        return None
    messages, paths = read_messages(items, fields.at("messages"), fields.faults)
    return finish_chat(
        messages, paths, tools, fields.faults, last_name='role "assistant"', tools_path=fields.at("tools")
    )


def _refuse_deprecated(fields: Fields) -> None:
    for name in _DEPRECATED:
        if fields.value.get(name) is not None:
            found = f"the field {quote(name)}"
            fields.fault(name, "unknown_field", "tools and tool_calls, its replacements", found=found)


def check_boolean(fields: Fields, name: str) -> None:
    """Report a field that is neither a boolean nor null or absent."""
    value = fields.value.get(name)
    if value is not None and not isinstance(value, bool):
        fields.fault(name, "wrong_type", "a boolean")


def read_messages(
    items: list[object], path: str, faults: LineFaults
) -> tuple[list[Message | None], list[str]]:
    """Return the messages of an array and their paths; None for each with a fault."""
    entries = objects(items, path, faults, 'a message: {"role": …, "content": …}')
    paths = [f"{path}[{index}]" for index in range(len(items))]
    return [read_message(fields) if fields else None for fields in entries], paths


def finish_chat(
    messages: list[Message | None],
    paths: list[str],
    tools: tuple[Json, ...],
    faults: LineFaults,
    *,
    last_name: str,
    tools_path: str = "tools",
    is_completion: bool = False,
) -> ChatExample | None:
    """Check the conversation as a whole; return it if the line has no fault."""
    check_calls(messages, paths, tools, faults)
    last = messages[-1]
    if last is not None and last.role != "assistant":
        found = f'a message of the role "{last.role}" at the end'
        faults.add(paths[-1], "last_not_assistant", found, f"a last message with {last_name}")
    elif all(message is not None and not message.is_trained for message in messages):
        found = "weight 0 on all messages of the assistant"
        faults.add(paths[-1].rpartition("[")[0], "nothing_trained", found, "at least one with weight 1")
    if faults.items:
        return None
    complete = tuple(message for message in messages if message is not None)
    return ChatExample(
        line=faults.line,
        messages=complete,
        tools=tools,
        paths=tuple(paths),
        tools_path=tools_path,
        is_completion=is_completion,
    )


def read_sharegpt(fields: Fields) -> ChatExample | None:
    """Return an example in the ShareGPT format, or None after reporting its faults."""
    items = fields.array("conversations", "an array of turns", max_length=MAX_MESSAGES)
    system = fields.text("system", is_required=False)
    if items is None:
        return None
    turns = objects(items, fields.at("conversations"), fields.faults, 'a turn: {"from": …, "value": …}')
    messages = [_turn(turn) if turn else None for turn in turns]
    paths = [f"{fields.at('conversations')}[{index}]" for index in range(len(items))]
    if system:
        messages.insert(0, Message(role="system", content=system))
        paths.insert(0, fields.at("system"))
    return finish_chat(messages, paths, (), fields.faults, last_name='from "gpt"')


def _turn(fields: Fields) -> Message | None:
    before = len(fields.faults.items)
    fields.only(("from", "value", "weight"))
    speaker = fields.choice("from", tuple(_SPEAKERS))
    role = _SPEAKERS[speaker] if speaker else None
    text = fields.text("value", may_be_empty=role == "system")
    weight = fields.value.get("weight")
    if weight is not None and (isinstance(weight, bool) or weight not in (0, 1)):
        fields.fault("weight", "unknown_value", "0 or 1")
    if len(fields.faults.items) > before or role is None:
        return None
    return Message(role=role, content=text or "", is_trained=role == "assistant" and weight != 0)
