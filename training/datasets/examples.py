"""Examples of a dataset in one typed form, whatever the format of their file."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
Json: TypeAlias = dict[str, object]


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a function by the assistant, its arguments parsed."""

    id: str
    name: str
    arguments: Json


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message. ``is_trained``: an assistant's message whose tokens are learned (weight 1).

    ``content`` is text: typed parts are joined with line feeds, as the inference engine does.
    """

    role: Role
    content: str = ""
    name: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    is_trained: bool = False


class ChatExample(msgspec.Struct, frozen=True, kw_only=True, tag="chat"):
    """A conversation for supervised training. ``paths[i]``: path of ``messages[i]`` in the file's example.

    ``is_completion``: from a prompt/completion pair, which a model without a chat template can be trained on.
    """

    line: int
    messages: tuple[Message, ...]
    tools: tuple[Json, ...] = ()
    paths: tuple[str, ...] = ()
    tools_path: str = "tools"
    is_completion: bool = False


class PreferenceExample(msgspec.Struct, frozen=True, kw_only=True, tag="preference"):
    """A prompt with a preferred and a non-preferred answer, each one assistant message."""

    line: int
    prompt: tuple[Message, ...]
    chosen: Message
    rejected: Message
    tools: tuple[Json, ...] = ()
    paths: tuple[str, ...] = ()
    chosen_path: str = "chosen"
    rejected_path: str = "rejected"
    tools_path: str = "tools"
    is_completion: bool = False


Example: TypeAlias = ChatExample | PreferenceExample
