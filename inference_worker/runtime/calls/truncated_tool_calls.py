"""A tool call that the token limit has cut: a plain answer says of it what a stream says.

vLLM's parsers of whole texts give a call that is not complete back as content, markup and all, and say
``tool_calls`` of one that is complete but for its end. Its parsers of streams do neither.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from typing import Any

from inference_worker.telemetry.lines import trace_without_texts

logger = logging.getLogger("cyllm.worker.calls")

CUT = "length"


def tell_cut_calls(serving: Any) -> None:
    """Wrap the part of vLLM's chat serving (``OpenAIServingChat``) that makes plain answers."""
    make_answer = serving.chat_completion_full_generator

    async def make(request: Any, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not request.tools or request.tool_choice == "none":
            return await make_answer(request, outputs, *args, **kwargs)
        last: list[Any] = []
        answer = await make_answer(request, _remembering(outputs, last), *args, **kwargs)
        if last and hasattr(answer, "choices"):
            for choice, output in zip(answer.choices, last[0].outputs, strict=False):
                if output.finish_reason == CUT:
                    _tell(serving, request, choice, output, last[0].prompt_token_ids)
        return answer

    serving.chat_completion_full_generator = make


async def _remembering(outputs: Any, last: list[Any]) -> AsyncGenerator[Any, None]:
    async for output in outputs:
        last[:] = [output]
        yield output


def _tell(serving: Any, request: Any, choice: Any, output: Any, prompt_token_ids: list[int]) -> None:
    choice.finish_reason = CUT
    if choice.message.tool_calls:
        return
    try:
        said = _as_streamed(serving, request, output, prompt_token_ids)
    except Exception as error:
        # The parser of the stream can't read it either: the text is all there is.
        logger.warning("a cut call can't be read", extra={"trace": trace_without_texts(error)})
        return
    choice.message.content = "".join(piece.content or "" for piece in said) or None
    if calls := [call for piece in said for call in piece.tool_calls]:
        choice.message.tool_calls = _whole(calls)


def _as_streamed(serving: Any, request: Any, output: Any, prompt_token_ids: list[int]) -> list[Any]:
    """What a stream would say, in two pieces: together with the end, a call without arguments gets some."""
    variables = serving._effective_chat_template_kwargs(request)
    parser = serving._make_parser(request, serving.renderer.tokenizer, variables)
    pieces = [
        parser.parse_delta(
            delta_text=text,
            delta_token_ids=token_ids,
            request=request,
            prompt_token_ids=prompt_token_ids,
            finished=finished,
        )
        for text, token_ids, finished in ((output.text, list(output.token_ids), False), ("", [], True))
    ]
    return [piece for piece in pieces if piece is not None]


def _whole(deltas: list[Any]) -> list[Any]:
    """Calls as plain answers have them, out of the deltas of one piece."""
    from vllm.entrypoints.generate.base.protocol import FunctionCall, ToolCall

    calls: dict[int, Any] = {}
    for delta in deltas:
        if delta.index not in calls:
            function = FunctionCall(name=delta.function.name, arguments="")
            calls[delta.index] = ToolCall(id=delta.id, function=function)
        calls[delta.index].function.arguments += (delta.function.arguments or "") if delta.function else ""
    return [calls[index] for index in sorted(calls)]
