"""A validated Responses request: its input, its options, and the chat request that produces the response."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.openai.errors.base import ApiError
from api.openai.responses.conversation import Conversation
from api.openai.responses.input_items import StoredItem
from api.openai.validation.engine_request import EngineRequest
from api.openai.validation.requests import validate_chat_body

_TOOL = re.compile(r"tools\[(\d+)\]\.function")
_RESPONSES_NAMES = {
    "response_format.json_schema": "text.format",
    "response_format": "text.format",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "tool_choice.function": "tool_choice",
}


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """A validated Responses request.

    ``input``: items with ids, in the form in which the API lists them.
    ``outlives_client``: the request continues after its client disconnects.
    ``echo``: the request's parameters that the response object repeats.
    ``chat_fields``: the chat request without its messages.
    ``tool_positions``: for each tool of the chat request, its position in this request.
    """

    model: str
    is_streamed: bool
    is_background: bool
    is_stored: bool
    outlives_client: bool
    previous_response_id: str | None
    instructions: str | None
    input: tuple[StoredItem, ...]
    metadata: Mapping[str, str]
    has_logprobs: bool
    echo: Mapping[str, Any]
    chat_fields: Mapping[str, Any]
    tool_positions: tuple[int, ...]

    def chat(self, history: Sequence[Mapping[str, Any]] = ()) -> EngineRequest:
        """Return the streamed chat request for instructions, history and input, in this order.

        ``history``: input and output items of all previous responses, oldest first.
        Raises ApiError, whose ``param`` names a parameter of the Responses request.
        """
        conversation = Conversation(self.instructions)
        for item in history:
            conversation.add(item, "previous_response_id")
        for position, item in enumerate(self.input):
            conversation.add(item, f"input[{position}]")
        try:
            return validate_chat_body({**self.chat_fields, "messages": conversation.messages})
        except ApiError as error:
            origin = None if error.param is None else conversation.origin_of(error.param)
            raise self.translate_error(error, origin) from None

    def translate_error(self, error: ApiError, param: str | None = None) -> ApiError:
        """Return an error about the chat request with the parameter's name in this request.

        ``param`` overrides the error's own parameter.
        """
        param = param or error.param
        if param is None:
            return error
        if param.partition("[")[0] == "messages":
            return error.at("input")
        if match := _TOOL.match(param):
            param = f"tools[{self.tool_positions[int(match[1])]}]{param[match.end() :]}"
        for chat_name, own_name in _RESPONSES_NAMES.items():
            if param == chat_name or param.startswith(chat_name + "."):
                param = own_name + param.removeprefix(chat_name)
        return error.at(param)
