"""The request for the summary of a conversation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from api.openai.errors.parameters import InvalidValue
from api.openai.responses.requests import validate_response_body
from api.openai.responses.response_fields import new_id
from api.openai.responses.response_plan import ResponsePlan

PROMPT = (
    "Summarize the conversation above, so that it can be continued from the summary and the messages of the"
    " user alone. State the goal, the decisions and their reasons, results of tools, names and numbers that"
    " are still needed, and the next steps. Answer with the summary only."
)
# The others determine the form of an answer, but a summary is always text.
_SUMMARY_PARAMETERS = frozenset(
    {
        *("model", "temperature", "top_p", "top_k", "min_p", "seed", "max_completion_tokens"),
        *("reasoning_effort", "chat_template_kwargs"),
    }
)


def validate_compaction_body(body: Any) -> ResponsePlan:
    """Return the plan of a request for a summary. It is not streamed, and its last input item is the prompt.

    Raises ApiError for the first fault.
    """
    plan = validate_response_body(body)
    for name, is_set in (("stream", plan.is_streamed), ("background", plan.is_background)):
        if is_set:
            raise InvalidValue(param=name, reason="a compaction is always returned as one JSON document")
    content = [{"type": "input_text", "text": PROMPT}]
    prompt = {"id": new_id("msg"), "type": "message", "role": "user", "content": content}
    fields = {name: value for name, value in plan.chat_fields.items() if name in _SUMMARY_PARAMETERS}
    return replace(plan, input=(*plan.input, prompt), chat_fields=fields, tools=())
