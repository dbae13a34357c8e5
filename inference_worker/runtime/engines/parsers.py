"""vLLM's parsers of tool calls and reasoning: which there are, and which streams they leave as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference_worker.protocol.messages import Operation
from inference_worker.runtime.calls.engine import EngineStartError
from inference_worker.runtime.calls.fast_path import EmptyPieces
from inference_worker.runtime.settings import WorkerSettings


def check_parsers(settings: WorkerSettings) -> None:
    """Raise EngineStartError for a parser that vLLM doesn't have; the text lists those that it has."""
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    for setting, name, manager in (
        ("CYLLM_WORKER_TOOL_PARSER", settings.tool_parser, ToolParserManager),
        ("CYLLM_WORKER_REASONING_PARSER", settings.reasoning_parser, ReasoningParserManager),
    ):
        known: list[str] = manager.list_registered()
        if name and name not in known:
            raise EngineStartError(f"{setting}: vLLM has no parser {name}; it has {', '.join(known)}")


def parser_arguments(settings: WorkerSettings) -> list[str]:
    """vLLM's command line for the settings' parsers and chat template."""
    arguments = []
    if settings.tool_parser:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", settings.tool_parser]
    if settings.reasoning_parser:
        arguments += ["--reasoning-parser", settings.reasoning_parser]
    if settings.chat_template:
        arguments += ["--chat-template", str(settings.chat_template.absolute())]
    return arguments


def short_ways(parser_cls: Any) -> Mapping[Operation, EmptyPieces]:
    """Where plain streams come out of vLLM's application as the text that went in; ``parser_cls`` is the
    parser of its chats, or None.

    A request without tools passes by a tool parser (``DelegatingParser._extract_tool_calls_streaming``),
    but for those that are built on vLLM's parser engine.
    """
    plain = {Operation.COMPLETIONS: EmptyPieces.SENT}
    if parser_cls is None:
        return plain | {Operation.CHAT_COMPLETIONS: EmptyPieces.SENT}
    return plain | ({Operation.CHAT_COMPLETIONS: EmptyPieces.LEFT_OUT} if _passes_text(parser_cls) else {})


def _passes_text(parser_cls: Any) -> bool:
    from vllm.parser.abstract_parser import DelegatingParser

    return bool(
        issubclass(parser_cls, DelegatingParser)
        and parser_cls.parse_delta is DelegatingParser.parse_delta
        and parser_cls._extract_tool_calls_streaming is DelegatingParser._extract_tool_calls_streaming
        and parser_cls.reasoning_parser_cls is None
        and not parser_cls.tool_parser_cls.engine_based_streaming
    )
