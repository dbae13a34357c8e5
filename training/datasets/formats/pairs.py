"""Single turns: prompt and completion, Alpaca."""

from __future__ import annotations

import msgspec

from training.datasets.examples import ChatExample, Message
from training.datasets.formats.chat import finish_chat, read_messages
from training.datasets.formats.fields import Fields
from training.datasets.formats.messages import MAX_MESSAGES

COMPLETION_FIELDS = ("prompt", "completion")
ALPACA_FIELDS = ("instruction", "input", "output", "system")


def read_completion(fields: Fields) -> ChatExample | None:
    """Return a prompt with its completion, both text or both arrays of messages."""
    if isinstance(fields.value.get("prompt"), list) or isinstance(fields.value.get("completion"), list):
        return _read_message_completion(fields)
    prompt = fields.text("prompt", may_be_empty=False)
    completion = fields.text("completion", may_be_empty=False)
    if prompt is None or completion is None or fields.faults.items:
        return None
    question = Message(role="user", content=prompt)
    answer = Message(role="assistant", content=completion, is_trained=True)
    paths = (fields.at("prompt"), fields.at("completion"))
    line = fields.faults.line
    return ChatExample(line=line, messages=(question, answer), paths=paths, is_completion=True)


def _read_message_completion(fields: Fields) -> ChatExample | None:
    prompt = fields.array("prompt", "an array of messages, like the completion", max_length=MAX_MESSAGES)
    completion = fields.array("completion", "an array of messages, like the prompt", max_length=MAX_MESSAGES)
    if prompt is None or completion is None:
        return None
    context, paths = read_messages(prompt, fields.at("prompt"), fields.faults)
    answers, answer_paths = read_messages(completion, fields.at("completion"), fields.faults)
    context_messages = [message and msgspec.structs.replace(message, is_trained=False) for message in context]
    return finish_chat(
        [*context_messages, *answers],
        [*paths, *answer_paths],
        (),
        fields.faults,
        last_name='role "assistant"',
    )


def read_alpaca(fields: Fields) -> ChatExample | None:
    """Return an Alpaca example: the input follows the instruction after an empty line."""
    instruction = fields.text("instruction", may_be_empty=False)
    extra = fields.text("input", is_required=False)
    output = fields.text("output", may_be_empty=False)
    system = fields.text("system", is_required=False)
    if instruction is None or output is None or fields.faults.items:
        return None
    question = f"{instruction}\n\n{extra}" if extra and extra.strip() else instruction
    messages = [
        Message(role="user", content=question),
        Message(role="assistant", content=output, is_trained=True),
    ]
    paths = [fields.at("instruction"), fields.at("output")]
    if system and system.strip():
        messages.insert(0, Message(role="system", content=system))
        paths.insert(0, fields.at("system"))
    return ChatExample(line=fields.faults.line, messages=tuple(messages), paths=tuple(paths))
