"""The effective ``strict`` of function tools: by default, strict where the schema is compatible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.openai.errors.base import ApiError
from api.openai.validation.grammars import MAX_SCHEMA_CHARACTERS, check_schema
from api.openai.validation.json_schema_nodes import schema_nodes

# OpenAI's keywords of the strict mode, without ``pattern`` and ``format``, which may not compile.
_KEYWORDS = frozenset(
    {
        *("$defs", "$ref", "$schema", "additionalProperties", "anyOf", "const", "definitions", "description"),
        *(
            "enum",
            "exclusiveMaximum",
            "exclusiveMinimum",
            "items",
            "maxItems",
            "maximum",
            "minItems",
            "minimum",
        ),
        *("properties", "required", "title", "type"),
    }
)
_CONSTRAINING = frozenset({"$ref", "anyOf", "const", "enum", "type"})


def with_effective_strict(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the tools, each with ``strict`` set.

    Without an explicit value, a tool is strict if its schema is compatible with the strict mode: in every
    object all properties are required and no others are allowed. A schema is never changed to be compatible.
    """
    effective = []
    characters = 0
    for tool in tools:
        strict = tool.get("strict")
        if strict is None:
            size = _compatible_size(tool.get("parameters"))
            strict = size is not None and characters + size <= MAX_SCHEMA_CHARACTERS
            characters += size if strict and size is not None else 0
        effective.append({**tool, "strict": strict})
    return effective


def _compatible_size(schema: Any) -> int | None:
    """Return the size of a schema in the characters that count, or None if it isn't compatible."""
    if not isinstance(schema, dict) or schema.get("type") != "object" or "anyOf" in schema:
        return None
    try:
        size = check_schema(schema, "parameters")
    except ApiError:
        return None
    return size if all(_is_compatible(node) for _, node, _ in schema_nodes(schema, "")) else None


def _is_compatible(schema: Mapping[str, Any]) -> bool:
    if not schema.keys() <= _KEYWORDS or not schema.keys() & _CONSTRAINING:
        return False
    types = schema.get("type", "")
    if "properties" not in schema and types != "object" and "object" not in types:
        return True
    properties, required_names = schema.get("properties"), schema.get("required", [])
    return (
        isinstance(properties, dict)
        and all(isinstance(inner, dict) for inner in properties.values())
        and schema.get("additionalProperties") is False
        and isinstance(required_names, list)
        and all(isinstance(name, str) for name in required_names)
        and set(required_names) == properties.keys()
    )
