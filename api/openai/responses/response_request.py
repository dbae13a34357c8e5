"""A checked Responses request: its input, what it asks of the platform, and the chat request it becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.openai.errors.base import ApiError
from api.openai.responses.conversation import Conversation
from api.openai.responses.input_items import Stored
from api.openai.validation.engine_request import EngineRequest
from api.openai.validation.requests import check_chat_body

_TOOL = re.compile(r"tools\[(\d+)\]\.function")
_RENAMED = {
    "response_format.json_schema": "text.format",
    "response_format": "text.format",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "tool_choice.function": "tool_choice",
}


@dataclass(frozen=True, slots=True)
class CheckedResponse:
    """A valid request.

    ``input``: the items with ids, as the API lists them. ``echo``: what the response repeats of the
    request. ``continues``: whether it goes on when its client has left.
    """

    model: str
    streamed: bool
    background: bool
    stored: bool
    continues: bool
    previous_response_id: str | None
    instructions: str | None
    input: tuple[Stored, ...]
    metadata: Mapping[str, str]
    with_logprobs: bool
    echo: Mapping[str, Any]
    fields: Mapping[str, Any]
    tool_positions: tuple[int, ...]

    def chat(self, history: Sequence[Mapping[str, Any]] = ()) -> EngineRequest:
        """The streamed chat request for instructions, history and input, in that order.

        ``history``: the stored input and output items of the chain of previous responses, oldest first.
        Raises ApiError, with ``param`` naming a parameter of the Responses request.
        """
        conversation = Conversation(self.instructions)
        for item in history:
            conversation.add(item, "previous_response_id")
        for position, item in enumerate(self.input):
            conversation.add(item, f"input[{position}]")
        try:
            return check_chat_body({**self.fields, "messages": conversation.messages})
        except ApiError as error:
            origin = None if error.param is None else conversation.origin_of(error.param)
            raise self.renamed(error, origin) from None

    def renamed(self, error: ApiError, param: str | None = None) -> ApiError:
        """An error about the chat request, as an engine has it, in the terms of this request.

        ``param``: what to take for the error's own.
        """
        param = param or error.param
        if param is None:
            return error
        if param.partition("[")[0] == "messages":
            return error.at("input")
        if found := _TOOL.match(param):
            param = f"tools[{self.tool_positions[int(found[1])]}]{param[found.end() :]}"
        for chat, own in _RENAMED.items():
            if param == chat or param.startswith(chat + "."):
                param = own + param.removeprefix(chat)
        return error.at(param)
