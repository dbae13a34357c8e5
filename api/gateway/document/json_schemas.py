"""JSON schemas of requests and responses, with the bounds that are checked outside of pydantic."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.openai.schemas.fields import MAX_METADATA_KEY_LENGTH
from api.openai.validation.sizes import MAX_KEY_LENGTH, max_array_length, max_object_size

Json = dict[str, Any]
TEMPLATE = "#/components/schemas/{model}"
_PREFIX = TEMPLATE.format(model="")
# Prefix of union branches that are never valid and exist for their errors only.
_NEVER_VALID = "Unknown"
# Rules for the keys of these parameters.
_KEYS: Mapping[str, Json] = {
    "logit_bias": {"pattern": "^(0|[1-9][0-9]{0,6})$"},
    "metadata": {"maxLength": MAX_METADATA_KEY_LENGTH},
    "chat_template_kwargs": {"pattern": "^[A-Za-z][A-Za-z0-9_]*$"},
}
# Values that the rules accept. The pydantic schemas accept more, so that the error can give a reason.
_VALUES: Mapping[str, Mapping[str, Json]] = {
    "ChatRequest": {"modalities": {"const": ["text"]}},
}
# The parameter with the conversation, whose bound is lower than that of other arrays.
_CONVERSATIONS: Mapping[str, str] = {"ResponseRequest": "input"}


def request_schemas(models: Collection[type[BaseModel]]) -> Json:
    """Return the schemas of requests and of their parts, by name."""
    schemas = _definitions(models)
    for schema in schemas.values():
        _remove_error_branches(schema)
    schemas = {name: schema for name, schema in schemas.items() if _NEVER_VALID not in name}
    _remove_shared_types(schemas)
    for model in models:
        _add_bounds(schemas[model.__name__], _CONVERSATIONS.get(model.__name__, "messages"))
    for name, values in _VALUES.items():
        for parameter, value in values.items() if name in schemas else ():
            schemas[name]["properties"][parameter] = {"anyOf": [value, {"type": "null"}]}
    return schemas


def response_schemas(models: Collection[type[BaseModel]]) -> Json:
    """Return the schemas of responses, which allow the additional fields of remote engines."""
    schemas = _definitions(models)
    for schema in schemas.values():
        if schema.get("additionalProperties") is False:
            del schema["additionalProperties"]
    return schemas


def _definitions(models: Collection[type[BaseModel]]) -> Json:
    sorted_models = sorted(models, key=lambda model: model.__name__)
    schema = models_json_schema([(model, "validation") for model in sorted_models], ref_template=TEMPLATE)[1]
    return {name: _simplify(definition) for name, definition in schema["$defs"].items()}


def _simplify(schema: Any, *, is_properties: bool = False) -> Any:
    """Return the schema without titles and null defaults.

    ``is_properties``: the keys of this object are names of properties, not keywords.
    """
    if isinstance(schema, list):
        return [_simplify(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _simplify(value, is_properties=key == "properties" and not is_properties)
        for key, value in schema.items()
        if is_properties or not (key == "title" or (key == "default" and value is None))
    }


def _remove_error_branches(schema: Json) -> None:
    for union in _unions(schema):
        union[:] = [branch for branch in union if _NEVER_VALID not in branch.get("$ref", "")]


def _remove_shared_types(schemas: Json) -> None:
    """Remove from each branch the types that another branch handles; it lists them only for its errors."""
    for schema in schemas.values():
        for union in _unions(schema):
            branches = [schemas[branch["$ref"].removeprefix(_PREFIX)] for branch in union if "$ref" in branch]
            for name in ("type", "role"):
                fields = [branch.get("properties", {}).get(name, {}) for branch in branches]
                constants = {field["const"] for field in fields if "const" in field}
                for field in fields:
                    if "enum" in field:
                        field["enum"] = [value for value in field["enum"] if value not in constants]


def _unions(schema: Any) -> Iterator[list[Json]]:
    if isinstance(schema, list):
        for inner in schema:
            yield from _unions(inner)
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "oneOf":
                yield value
            yield from _unions(value)


def _add_bounds(schema: Json, conversation: str) -> None:
    """Add the bounds of ``sizes`` to the parameters of a request."""
    for name, parameter in schema["properties"].items():
        max_items = max_array_length(name, conversation=conversation)
        max_properties = max_object_size(name)
        for branch in _branches(parameter):
            if branch.get("type") == "array":
                branch["maxItems"] = min(branch.get("maxItems", max_items), max_items)
            if branch.get("type") == "object":
                branch["maxProperties"] = min(branch.get("maxProperties", max_properties), max_properties)
                branch["propertyNames"] = {"maxLength": MAX_KEY_LENGTH, **_KEYS.get(name, {})}


def _branches(schema: Json) -> Iterator[Json]:
    yield schema
    for key in ("anyOf", "oneOf"):
        for inner in schema.get(key, ()):
            yield from _branches(inner)
