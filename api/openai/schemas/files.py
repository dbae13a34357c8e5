"""The form that uploads a file, and the validation of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from api.openai.errors.base import printable
from api.openai.errors.parameters import (
    IntegerAboveMaxValue,
    IntegerBelowMinValue,
    InvalidType,
    InvalidValue,
    MissingRequiredParameter,
)
from api.openai.schemas.policies import Platform, Wire

MIN_LIFETIME_S, MAX_LIFETIME_S = 3600, 30 * 24 * 3600  # as in OpenAI's API
UploadPurpose = Literal["fine-tune", "batch", "user_data"]
PURPOSES: tuple[str, ...] = get_args(UploadPurpose)
PURPOSE, ANCHOR, SECONDS = "purpose", "expires_after[anchor]", "expires_after[seconds]"
FIELD_NAMES = frozenset({PURPOSE, ANCHOR, SECONDS})


class ExpiresAfter(Wire):
    """The lifetime of a file. A form has a field for each part: ``expires_after[seconds]``."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=MIN_LIFETIME_S, le=MAX_LIFETIME_S)]


class FileRequest(Wire):
    """A file with its name, and its purpose, in any order."""

    file: Annotated[bytes, Platform(), Field(json_schema_extra={"format": "binary"})]
    purpose: Annotated[UploadPurpose, Platform()]
    expires_after: Annotated[ExpiresAfter | None, Platform()] = None


@dataclass(frozen=True, slots=True)
class FileFields:
    """The valid fields of a form. ``lifetime_s`` None: the file does not expire."""

    purpose: str
    lifetime_s: int | None = None


def validate_fields(fields: Mapping[str, str]) -> FileFields:
    """Validate the fields of a complete form. Raises ApiError."""
    if PURPOSE not in fields:
        raise MissingRequiredParameter(param=PURPOSE)
    check_purpose(fields)
    return FileFields(fields[PURPOSE], _lifetime_s(fields))


def check_purpose(fields: Mapping[str, str]) -> None:
    """Refuse an unknown purpose, if the form has one yet. Raises InvalidValue."""
    purpose = fields.get(PURPOSE)
    if purpose is not None and purpose not in PURPOSES:
        alternatives = ", ".join(f"'{name}'" for name in PURPOSES)
        reason = f"'{printable(purpose)}' is not supported; expected one of {alternatives}"
        raise InvalidValue(param=PURPOSE, reason=reason)


def _lifetime_s(fields: Mapping[str, str]) -> int | None:
    if fields.keys().isdisjoint((ANCHOR, SECONDS)):
        return None
    for name in (ANCHOR, SECONDS):
        if name not in fields:
            raise MissingRequiredParameter(param=name)
    if fields[ANCHOR] != "created_at":
        raise InvalidValue(param=ANCHOR, reason="expected 'created_at'")
    text = fields[SECONDS]
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidType(param=SECONDS, expected_type="an integer", actual_type="a string")
    seconds = int(text)
    if seconds < MIN_LIFETIME_S:
        raise IntegerBelowMinValue(param=SECONDS, sign=">=", bound=MIN_LIFETIME_S, value=seconds)
    if seconds > MAX_LIFETIME_S:
        raise IntegerAboveMaxValue(param=SECONDS, sign="<=", bound=MAX_LIFETIME_S, value=seconds)
    return seconds
