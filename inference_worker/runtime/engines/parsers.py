"""vLLM's parsers of tool calls and reasoning: their settings, and their effect on plain streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.engine import EngineFailedError
from inference_worker.runtime.calls.fast_path import EmptyChunks
from inference_worker.runtime.settings import WorkerSettings


def check_parsers(settings: WorkerSettings) -> None:
    """Raise EngineFailedError, which lists vLLM's parsers, for a parser that it doesn't have."""
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    for setting, name, manager in (
        ("CYLLM_WORKER_TOOL_PARSER", settings.tool_parser, ToolParserManager),
        ("CYLLM_WORKER_REASONING_PARSER", settings.reasoning_parser, ReasoningParserManager),
    ):
        parsers: list[str] = manager.list_registered()
        if name and name not in parsers:
            raise EngineFailedError(f"{setting}: vLLM has no parser {name}; it has {', '.join(parsers)}")


def parser_arguments(settings: WorkerSettings) -> list[str]:
    """Return vLLM's arguments for the settings' parsers and chat template."""
    arguments = []
    if settings.tool_parser:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", settings.tool_parser]
    if settings.reasoning_parser:
        arguments += ["--reasoning-parser", settings.reasoning_parser]
    if settings.chat_template:
        arguments += ["--chat-template", str(settings.chat_template.absolute())]
    return arguments


def fast_paths(parser_cls: Any) -> Mapping[Operation, EmptyChunks]:
    """Return the operations in which vLLM's application leaves the text of plain streams unchanged.

    ``parser_cls`` is the parser of its chats, or None. A request without tools bypasses tool parsers
    (``DelegatingParser._extract_tool_calls_streaming``), except those built on vLLM's parser engine.
    """
    completions = {Operation.COMPLETIONS: EmptyChunks.SENT}
    if parser_cls is None:
        return completions | {Operation.CHAT_COMPLETIONS: EmptyChunks.SENT}
    if _keeps_text(parser_cls):
        return completions | {Operation.CHAT_COMPLETIONS: EmptyChunks.OMITTED}
    return completions


def _keeps_text(parser_cls: Any) -> bool:
    from vllm.parser.abstract_parser import DelegatingParser

    return bool(
        issubclass(parser_cls, DelegatingParser)
        and parser_cls.parse_delta is DelegatingParser.parse_delta
        and parser_cls._extract_tool_calls_streaming is DelegatingParser._extract_tool_calls_streaming
        and parser_cls.reasoning_parser_cls is None
        and not parser_cls.tool_parser_cls.engine_based_streaming
    )
