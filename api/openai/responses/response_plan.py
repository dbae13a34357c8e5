"""A validated Responses request: its input, its options, and the chat request that produces the response."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from api.openai.errors.base import ApiError, printable
from api.openai.errors.streams import ItemNotFound
from api.openai.responses.conversation import Conversation
from api.openai.responses.input_items import ITEM_REFERENCE, StoredItem
from api.openai.responses.tool_names import OfferedFunction
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
    ``tools``: the functions of the chat request, in order.
    ``names_without_effect``: parameters of the request that have no effect.
    ``service_tier``: OpenAI's name of the tier that the client asks for.
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
    tools: tuple[OfferedFunction, ...]
    names_without_effect: tuple[str, ...] = ()
    service_tier: str | None = None

    @property
    def reference_ids(self) -> frozenset[str]:
        """The ids of the stored items that the input refers to."""
        return frozenset(item["id"] for item in self.input if item["type"] == ITEM_REFERENCE)

    def with_items(self, items: Mapping[str, StoredItem]) -> ResponsePlan:
        """Return the plan with stored items in place of references. Raises ItemNotFound."""
        input_items = []
        for position, item in enumerate(self.input):
            if item["type"] == ITEM_REFERENCE:
                if item["id"] not in items:
                    raise ItemNotFound(item_id=printable(item["id"]), param=f"input[{position}].id")
                item = items[item["id"]]
            input_items.append(item)
        return replace(self, input=tuple(input_items))

    def chat(self, history: Sequence[Mapping[str, Any]] = ()) -> EngineRequest:
        """Return the streamed chat request for instructions, history and input, in this order.

        ``history``: input and output items of all previous responses, oldest first.
        Raises ApiError, whose ``param`` names a parameter of the Responses request.
        """
        conversation = Conversation(self.instructions, self.tools)
        for item in history:
            conversation.add(item, "previous_response_id")
        for position, item in enumerate(self.input):
            conversation.add(item, f"input[{position}]")
        try:
            request = validate_chat_body({**self.chat_fields, "messages": conversation.messages})
        except ApiError as error:
            origin = None if error.param is None else conversation.origin_of(error.param)
            raise self.translate_error(error, origin) from None
        return replace(
            request,
            names_without_effect=self.names_without_effect,
            effort_name="reasoning.effort",
            service_tier=self.service_tier,
        )

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
            param = f"{self.tools[int(match[1])].path}{param[match.end() :]}"
        for chat_name, own_name in _RESPONSES_NAMES.items():
            if param == chat_name or param.startswith(chat_name + "."):
                param = own_name + param.removeprefix(chat_name)
        return error.at(param)
