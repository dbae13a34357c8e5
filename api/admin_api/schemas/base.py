"""Types that the schemas share: closed bodies, moments, and queries of lists."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
)

MAX_INTEGER = 2**31 - 1
MAX_BIG_INTEGER = 2**53 - 1  # the greatest that every JSON parser reads exactly


def _parse_moment(value: object) -> object:
    moment = value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            moment = dt.datetime.fromisoformat(value)
    if not isinstance(moment, dt.datetime) or moment.tzinfo is None:
        raise ValueError("expected a time with its zone in ISO 8601, such as 2030-01-31T12:00:00Z")
    return moment


def _has_utc(moment: dt.datetime) -> dt.datetime:
    try:
        moment.astimezone(dt.UTC)
    except OverflowError:
        raise ValueError("expected a time whose year in UTC is between 1 and 9999") from None
    return moment


def _in_utc(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


Moment: TypeAlias = Annotated[
    AwareDatetime,
    BeforeValidator(_parse_moment),
    AfterValidator(_has_utc),
    PlainSerializer(_in_utc, return_type=str),
    Field(json_schema_extra={"format": "date-time"}),
]
Limit: TypeAlias = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
MicroUsd: TypeAlias = Annotated[int, Field(ge=0, le=MAX_BIG_INTEGER)]


class RequestBody(BaseModel):
    """The base of request bodies: strict types, no unknown fields. Absent fields stay unchanged."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    def changes(self) -> dict[str, object]:
        """Return the fields that the client sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Answer(BaseModel):
    """The base of response bodies."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Query(BaseModel):
    """The base of query parameters: no unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ListQuery(Query):
    """The page of a list."""

    limit: int = Field(20, ge=1, le=100, description="The most rows of one page.")
    cursor: str | None = Field(
        None, min_length=1, max_length=1000, description="`next_cursor` of the previous page."
    )


class ListAnswer(Answer):
    """A page of a list. ``next_cursor`` is null on the last page."""

    object: Literal["list"]
    has_more: bool
    next_cursor: str | None


class Deleted(Answer):
    """The confirmation of a deletion."""

    object: str
    id: str
    deleted: Literal[True] = True
