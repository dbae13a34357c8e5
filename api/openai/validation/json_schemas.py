"""The wire schemas as JSON schemas, with the bounds that are held before a schema is looked at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.openai.validation.sizes import MAX_KEY_LENGTH, largest_object, longest_array

Json = dict[str, Any]
TEMPLATE = "#/components/schemas/{model}"
_PREFIX = TEMPLATE.format(model="")
# Branches of unions that no value fits: they are there for their errors.
_NEVER_VALID = "Unknown"
# What rules say of the keys of these parameters.
_KEYS: Mapping[str, Json] = {
    "logit_bias": {"pattern": "^(0|[1-9][0-9]{0,6})$"},
    "metadata": {"maxLength": 64},
    "chat_template_kwargs": {"pattern": "^[A-Za-z][A-Za-z0-9_]*$"},
}
# Values that other rules leave of what a schema takes, so that each refusal can give its reason.
_VALUES: Mapping[str, Mapping[str, Json]] = {
    "ChatRequest": {
        "store": {"const": False},
        "service_tier": {"enum": ["auto", "default"]},
        "modalities": {"const": ["text"]},
        "verbosity": {"const": "medium"},
    },
    "StreamOptions": {"include_obfuscation": {"const": False}},
    "ResponseStreamOptions": {"include_obfuscation": {"const": False}},
}
# Where the messages of a conversation are; their bound is lower than that of other arrays.
_CONVERSATIONS: Mapping[str, str] = {"ResponseRequest": "input"}


def request_schemas(models: Collection[type[BaseModel]]) -> Json:
    """The schemas of requests and of all that they are made of, by name."""
    schemas = _definitions(models)
    for schema in schemas.values():
        _without_branches_for_errors(schema)
    schemas = {name: schema for name, schema in schemas.items() if _NEVER_VALID not in name}
    _keep_branches_apart(schemas)
    for model in models:
        _bound(schemas[model.__name__], _CONVERSATIONS.get(model.__name__, "messages"))
    for name, values in _VALUES.items():
        for parameter, value in values.items() if name in schemas else ():
            schemas[name]["properties"][parameter] = {"anyOf": [value, {"type": "null"}]}
    return schemas


def answer_schemas(models: Collection[type[BaseModel]]) -> Json:
    """The schemas of answers, open for what remote engines add."""
    schemas = _definitions(models)
    for schema in schemas.values():
        if schema.get("additionalProperties") is False:
            del schema["additionalProperties"]
    return schemas


def _definitions(models: Collection[type[BaseModel]]) -> Json:
    ordered = sorted(models, key=lambda model: model.__name__)
    made = models_json_schema([(model, "validation") for model in ordered], ref_template=TEMPLATE)[1]
    return {name: _plain(schema) for name, schema in made["$defs"].items()}


def _plain(schema: Any, *, named: bool = False) -> Any:
    """Without titles and null defaults. ``named``: the keys of this object are names of properties."""
    if isinstance(schema, list):
        return [_plain(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _plain(value, named=key == "properties" and not named)
        for key, value in schema.items()
        if named or not (key == "title" or (key == "default" and value is None))
    }


def _without_branches_for_errors(schema: Json) -> None:
    for union in _unions(schema):
        union[:] = [branch for branch in union if _NEVER_VALID not in branch.get("$ref", "")]


def _keep_branches_apart(schemas: Json) -> None:
    """Take from a branch the types that have a branch of their own: it names them in its errors only."""
    for schema in schemas.values():
        for union in _unions(schema):
            branches = [schemas[branch["$ref"].removeprefix(_PREFIX)] for branch in union if "$ref" in branch]
            for name in ("type", "role"):
                found = [branch.get("properties", {}).get(name, {}) for branch in branches]
                own = {kind["const"] for kind in found if "const" in kind}
                for kind in found:
                    if "enum" in kind:
                        kind["enum"] = [value for value in kind["enum"] if value not in own]


def _unions(schema: Any) -> Iterator[list[Json]]:
    if isinstance(schema, list):
        for inner in schema:
            yield from _unions(inner)
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "oneOf":
                yield value
            yield from _unions(value)


def _bound(schema: Json, conversation: str) -> None:
    """Write the bounds of sizes.py into the parameters of one request."""
    for name, parameter in schema["properties"].items():
        longest, largest = longest_array(name, conversation=conversation), largest_object(name)
        for branch in _branches(parameter):
            if branch.get("type") == "array":
                branch["maxItems"] = min(branch.get("maxItems", longest), longest)
            if branch.get("type") == "object":
                branch["maxProperties"] = min(branch.get("maxProperties", largest), largest)
                branch["propertyNames"] = {"maxLength": MAX_KEY_LENGTH, **_KEYS.get(name, {})}


def _branches(schema: Json) -> Iterator[Json]:
    yield schema
    for key in ("anyOf", "oneOf"):
        for inner in schema.get(key, ()):
            yield from _branches(inner)
