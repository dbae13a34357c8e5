"""Grammars of tool calls: compact, and with arguments that are objects.

vLLM compiles the schemas of strict tools as they are, and lets the arguments of other tools be any JSON,
also a string or an array. Here, the grammar of a forced call to a tool that is not strict follows its
declared parameters as far as a grammar can; the model's prompt has the schema as the client sent it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from inference_worker.runtime.constraints.grammar_schemas import Json, relaxed_object, without_annotations

ANY_OBJECT: Json = {"type": "object"}
MAX_GRAMMAR_CHARACTERS = 65_536  # of the schemas of all tools that are not strict
MAX_WHITE_SPACE = 1  # consecutive characters; vLLM's option for compact JSON has no effect on calls


def constrain_tool_calls(parser_cls: Any) -> None:
    """Patch the method of vLLM's parser that derives the constraint of a chat request from its tools."""
    original = parser_cls.adjust_request

    def adjust_request(self: Any, request: Any) -> Any:
        tools = request.tools
        if not tools:
            return original(self, request)
        # vLLM's grammar for at most one call, unless the output has a constraint of its own.
        is_single = request.parallel_tool_calls is False and request.extract_structured_outputs() is None
        request.tools = grammar_tools(tools, request.tool_choice, is_single=is_single)
        try:
            engine_request = original(self, request)
        finally:
            request.tools = tools
        engine_request.tools = tools
        outputs = getattr(engine_request, "structured_outputs", None)
        if outputs is not None and isinstance(outputs.structural_tag, str):
            outputs.structural_tag = compact_tag(outputs.structural_tag)
        return engine_request

    parser_cls.adjust_request = adjust_request


def grammar_tools(tools: Sequence[Any], choice: Any, *, is_single: bool) -> list[Any]:
    """Return the tools with the schemas that their grammar uses."""
    is_forced = choice not in (None, "auto", "none")
    # Otherwise vLLM constrains nothing.
    is_constrained = is_forced or is_single or any(tool.function.strict is True for tool in tools)
    if not is_constrained:
        return [_with(tool, parameters=ANY_OBJECT) for tool in tools]
    schemas = [
        relaxed_object(tool.function.parameters) if is_forced and tool.function.strict is not True else None
        for tool in tools
    ]
    is_small = sum(len(json.dumps(schema)) for schema in schemas) <= MAX_GRAMMAR_CHARACTERS
    return [
        _with(tool, parameters=without_annotations(tool.function.parameters))
        if tool.function.strict is True
        else _with(tool, parameters=schema if schema is not None and is_small else ANY_OBJECT, strict=True)
        for tool, schema in zip(tools, schemas, strict=True)
    ]


def _with(tool: Any, **fields: Any) -> Any:
    return tool.model_copy(update={"function": tool.function.model_copy(update=fields)})


def compact_tag(structural_tag: str) -> str:
    """Return a structural tag with bounded white space in its JSON."""
    tag = json.loads(structural_tag)
    pending: list[Any] = [tag]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict) and node.get("type") == "json_schema":
            if node.get("style", "json") == "json":
                node["max_whitespace_cnt"] = MAX_WHITE_SPACE
        elif isinstance(node, dict):
            pending.extend(node.values())
    return json.dumps(tag)
