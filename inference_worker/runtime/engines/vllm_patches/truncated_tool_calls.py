"""Reports a tool call that the token limit truncated the same way in plain responses as in streams.

vLLM's parsers of whole texts return an incomplete call as content, with its markup, and the finish reason
``tool_calls`` for one that lacks only its end. Its parsers of streams do neither.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

from inference_worker.telemetry.masking import trace_without_messages

logger = logging.getLogger("cyllm.worker.calls")

TRUNCATED = "length"  # OpenAI's finish reason


def report_truncated_tool_calls(serving: Any) -> None:
    """Patch the method of vLLM's chat serving (``OpenAIServingChat``) that makes plain responses."""
    original = serving.chat_completion_full_generator

    async def make_response(request: Any, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not request.tools or request.tool_choice == "none":
            return await original(request, outputs, *args, **kwargs)
        last_output: list[Any] = []
        response = await original(request, _remember_last(outputs, last_output), *args, **kwargs)
        if last_output and hasattr(response, "choices"):
            for choice, output in zip(response.choices, last_output[0].outputs, strict=False):
                if output.finish_reason == TRUNCATED:
                    _correct(serving, request, choice, output, last_output[0].prompt_token_ids)
        return response

    serving.chat_completion_full_generator = make_response


async def _remember_last(outputs: Any, last_output: list[Any]) -> AsyncGenerator[Any, None]:
    async for output in outputs:
        last_output[:] = [output]
        yield output


def _correct(serving: Any, request: Any, choice: Any, output: Any, prompt_token_ids: list[int]) -> None:
    choice.finish_reason = TRUNCATED
    if choice.message.tool_calls:
        return
    try:
        deltas = _stream_deltas(serving, request, output, prompt_token_ids)
    except Exception as error:
        # The parser of streams can't parse it either, so the plain text stays.
        trace = trace_without_messages(error)
        logger.warning("can't parse a truncated tool call", extra={"trace": trace})
        return
    choice.message.content = "".join(delta.content or "" for delta in deltas) or None
    if calls := [call for delta in deltas for call in delta.tool_calls]:
        choice.message.tool_calls = _merge(calls)


def _stream_deltas(serving: Any, request: Any, output: Any, prompt_token_ids: list[int]) -> list[Any]:
    """Return the deltas of a stream with this output.

    The text and the end are parsed in two steps: together they would give arguments to a call without any.
    """
    variables = serving._effective_chat_template_kwargs(request)
    parser = serving._make_parser(request, serving.renderer.tokenizer, variables)
    deltas = [
        parser.parse_delta(
            delta_text=text,
            delta_token_ids=token_ids,
            request=request,
            prompt_token_ids=prompt_token_ids,
            finished=is_last,
        )
        for text, token_ids, is_last in ((output.text, list(output.token_ids), False), ("", [], True))
    ]
    return [delta for delta in deltas if delta is not None]


def _merge(deltas: list[Any]) -> list[Any]:
    """Return the tool calls of a plain response from the deltas of a stream."""
    from vllm.entrypoints.generate.base.protocol import FunctionCall, ToolCall

    calls: dict[int, Any] = {}
    for delta in deltas:
        if delta.index not in calls:
            function = FunctionCall(name=delta.function.name, arguments="")
            calls[delta.index] = ToolCall(id=delta.id, function=function)
        calls[delta.index].function.arguments += (delta.function.arguments or "") if delta.function else ""
    return [calls[index] for index in sorted(calls)]
