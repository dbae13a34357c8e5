"""Policies of request parameters, declared as metadata of the fields of a schema.

A field without a policy changes the answer: it is validated strictly and the engine receives it. Validation,
the engine's body, the compatibility table and the OpenAPI document all follow from these declarations.
``null`` is valid for every optional field and stands for its default.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import override

REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Label:
    """A name or description. Engines don't receive it, because some labels identify a person."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hint:
    """A preference that the service ignores without changing the output.

    A value other than those in ``satisfied_values`` is reported to the client as having no effect.
    """

    reason: str
    satisfied_values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Fixed:
    """A parameter whose only accepted values are in effect anyway."""

    reason: str


@dataclass(frozen=True, slots=True)
class Platform:
    """A parameter for the gateway; engines don't receive it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A parameter that would change the output in a way that is not available: only null is valid."""

    reason: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "null", "description": f"Refused: {self.reason}."}

    def _check(self, value: Any) -> None:
        if value is not None:
            raise PydanticCustomError(REFUSED, "refused", {"reason": self.reason})


@dataclass(frozen=True, slots=True)
class ExplicitNull:
    """A null differs from an absent field, so the engine receives it."""


Policy: TypeAlias = Label | Hint | Fixed | Platform | Refused


class Wire(BaseModel):
    """Base of all request schemas: no coercion, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    def conditional_hints(self) -> Iterator[str]:
        """Yield the names of values that have no effect on this request, beyond those of fields."""
        yield from ()


class History(Wire, extra="ignore"):
    """Base of earlier messages. Clients add fields of their own, so unknown keys are dropped at any depth."""


class UnavailableTool(History):
    """Base of tools that the service doesn't have. Accepted, but withheld from the engine."""

    type: str

    @override
    def conditional_hints(self) -> Iterator[str]:
        yield f"[{self.type}]"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A field as requests spell it, with its policy; None if it changes the answer."""

    attribute: str
    name: str
    policy: Policy | None
    has_explicit_null: bool


@cache
def declarations(model: type[BaseModel]) -> tuple[Declaration, ...]:
    """Return the declarations of a schema's fields."""
    return tuple(
        Declaration(attribute, field.alias or attribute, policy_of(field), _has_explicit_null(field))
        for attribute, field in model.model_fields.items()
    )


def policy_of(field: FieldInfo) -> Policy | None:
    """Return the policy of a field; None if it changes the answer."""
    return next((entry for entry in field.metadata if isinstance(entry, Policy)), None)


def _has_explicit_null(field: FieldInfo) -> bool:
    return any(isinstance(entry, ExplicitNull) for entry in field.metadata)


def refusals(model: type[BaseModel]) -> dict[str, str]:
    """Return the reasons of the refused fields of a schema, by name."""
    return {
        declaration.name: declaration.policy.reason
        for declaration in declarations(model)
        if isinstance(declaration.policy, Refused)
    }


def engine_fields(model: Wire) -> dict[str, Any]:
    """Return the JSON of a validated value for an engine: no nulls, no hints or labels, no unknown keys."""
    return _fields(model, for_engine=True)


def wire_fields(model: Wire) -> dict[str, Any]:
    """Return the JSON of a validated value, without nulls and unknown keys."""
    return _fields(model, for_engine=False)


def _fields(model: Wire, *, for_engine: bool) -> dict[str, Any]:
    fields = {}
    for declaration in declarations(type(model)):
        value = getattr(model, declaration.attribute)
        if for_engine and declaration.policy is not None:
            continue
        if value is not None:
            fields[declaration.name] = _json(value, for_engine=for_engine)
        elif declaration.has_explicit_null and declaration.attribute in model.model_fields_set:
            fields[declaration.name] = None
    return fields


def _json(value: Any, *, for_engine: bool) -> Any:
    if isinstance(value, Wire):
        return _fields(value, for_engine=for_engine)
    if isinstance(value, list):
        return [
            _json(entry, for_engine=for_engine)
            for entry in value
            if not (for_engine and isinstance(entry, UnavailableTool))
        ]
    return value


def names_without_effect(model: Wire) -> tuple[str, ...]:
    """Return the sorted paths of the parameters of the request that have no effect."""
    return tuple(sorted(set(_names_without_effect(model, ""))))


def _names_without_effect(model: Wire, prefix: str) -> Iterator[str]:
    for name in model.conditional_hints():
        yield prefix.removesuffix(".") + name if name.startswith("[") else prefix + name
    for declaration in declarations(type(model)):
        value, policy = getattr(model, declaration.attribute), declaration.policy
        if value is None:
            continue
        if isinstance(policy, Hint) and value not in policy.satisfied_values:
            yield prefix + declaration.name
        for inner in value if isinstance(value, list) else (value,):
            if isinstance(inner, Wire):
                yield from _names_without_effect(inner, f"{prefix}{declaration.name}.")
