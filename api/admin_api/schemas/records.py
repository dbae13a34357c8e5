"""Schemas of usage, audit and refusals."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, SkipValidation, WithJsonSchema

from api.admin_api.schemas.base import Answer, ListAnswer, ListQuery, Moment, Query
from tenants.usage.period_bounds import parse_bound
from tenants.usage.sums import Dimension, parse_dimensions

OutcomeName: TypeAlias = Literal["pending", "completed", "cancelled", "failed", "refused", "lost"]


def _bound(value: object) -> object:
    return parse_bound(value) if isinstance(value, str) else value


def _dimensions(value: object) -> object:
    return tuple(parse_dimensions(value)) if isinstance(value, str) else value


# A date or a time, which the OpenAPI document describes as a text.
Bound: TypeAlias = Annotated[
    SkipValidation[dt.date],
    BeforeValidator(_bound),
    WithJsonSchema({"type": "string"}),
]
_DIMENSION = f"({'|'.join(Dimension)})"
Grouping: TypeAlias = Annotated[
    SkipValidation[tuple[Dimension, ...]],
    BeforeValidator(_dimensions),
    WithJsonSchema({"type": "string", "pattern": f"^{_DIMENSION}(,{_DIMENSION})*$"}),
]
SINCE = Field(
    None, description="A time such as 2026-03-01T09:30Z, or a date: then from its beginning in the zone `tz`."
)
UNTIL = Field(None, description="A time, or a date: then to its end in the zone `tz`. May be in the future.")
ZONE = Field("UTC", max_length=64, description="Time zone of dates and days, such as Europe/Berlin.")


class PeriodQuery(ListQuery):
    """A period: from ``since`` until before ``until``."""

    since: Bound | None = SINCE
    until: Bound | None = UNTIL
    tz: str = ZONE


class UsageQuery(Query):
    """The period and grouping of usage sums, by default the last 30 days; days are those of ``tz``.

    Periods begin and end on a quarter of an hour.
    """

    since: Bound | None = SINCE
    until: Bound | None = UNTIL
    by: Grouping | None = Field(
        None, description="One row for each value, or for each combination of the values of several."
    )
    tz: str = ZONE


class UsageSum(Answer):
    """Sums of usage records.

    ``groups``: the tenant, key prefix, model, endpoint, day or hour, by the names in ``by``. ``group``: the
    same if ``by`` is a single name, else null. Requests that have not ended have no outcome yet.
    """

    group: str | None
    groups: dict[str, str | None]
    requests: int
    completed: int
    cancelled: int
    failed: int
    refused: int = Field(
        description="Admitted requests that were refused before any output: by the engine, or because no "
        "worker could take them. Those refused at admission, such as for a limit, aren't usage; "
        "`audit/requests` and `refusals` have them."
    )
    lost: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    trained_tokens: int
    cost_microusd: int


class UsageSums(Answer):
    """Usage sums of a period, at most 1,000: days and hours in order, others with the greatest cost first."""

    object: Literal["list"] = "list"
    since: Moment
    until: Moment
    data: list[UsageSum]


class UsageRecordsQuery(PeriodQuery):
    """Filters of usage records."""

    model: str | None = Field(None, min_length=1, max_length=200)
    endpoint: str | None = Field(None, min_length=1, max_length=200)
    outcome: OutcomeName | None = None
    key: str | None = Field(None, pattern=r"^[0-9A-Za-z]{12}$", description="Prefix of a key.")
    request_id: str | None = Field(None, min_length=1, max_length=64)


class UsageRecord(Answer):
    """Tokens, cost and timings of a request, or of an attempt of a fine-tuning job. Times in seconds."""

    object: Literal["usage_record"] = "usage_record"
    request_id: str
    correlation_id: str
    tenant: str | None
    key_prefix: str | None
    endpoint: str
    model: str
    outcome: OutcomeName
    error_code: str
    status: int | None
    state: Literal["open", "settled"]
    is_charged: bool
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    trained_tokens: int
    cost_microusd: int
    first_token_s: float | None
    total_s: float | None
    started_at: Moment
    ended_at: Moment | None


class UsageRecordList(ListAnswer):
    """Usage records, newest first."""

    data: list[UsageRecord]


class AuditQuery(PeriodQuery):
    """Filters of audited requests."""

    outcome: OutcomeName | None = None
    error_code: str | None = Field(None, min_length=1, max_length=100)
    key: str | None = Field(None, pattern=r"^[0-9A-Za-z]{12}$", description="Prefix of a key.")
    correlation_id: str | None = Field(None, min_length=1, max_length=200)
    request_id: str | None = Field(None, min_length=1, max_length=64)


class AuditRecord(Answer):
    """One API request, refused ones included; never its content.

    ``requested_model``: the name that the client sent, which may be an alias or unknown. ``error_param``: the
    path of the parameter at fault, or of the limit, such as ``tenant.requests_per_minute``.
    """

    object: Literal["audit_record"] = "audit_record"
    request_id: str
    correlation_id: str
    tenant: str | None
    key_prefix: str
    client_ip: str | None
    method: str
    endpoint: str
    model: str
    requested_model: str
    outcome: OutcomeName
    error_code: str
    error_param: str
    status: int | None
    duration_s: float
    at: Moment


class AuditRecordList(ListAnswer):
    """Audited requests, newest first."""

    data: list[AuditRecord]


class ChangesQuery(PeriodQuery):
    """Filters of administrative changes."""

    action: str | None = Field(None, min_length=1, max_length=64, description="Such as `key.create`.")
    actor: str | None = Field(None, min_length=1, max_length=200)
    object_id: str | None = Field(None, min_length=1, max_length=64)
    request_id: str | None = Field(None, min_length=1, max_length=64)


class Change(Answer):
    """An administrative change: only what differs before and after."""

    object: Literal["change"] = "change"
    id: int
    at: Moment
    actor: str
    action: str
    object_id: str
    object_name: str
    tenant: str | None
    request_id: str = Field(
        description="`x-request-id` of the request that made it, or `cmd_…` of a command; else empty."
    )
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class ChangeList(ListAnswer):
    """Administrative changes, newest first."""

    data: list[Change]


class RefusalsQuery(PeriodQuery):
    """Filters of refusals."""

    error_code: str | None = Field(None, min_length=1, max_length=100)


class Refusal(Answer):
    """Requests that one gateway refused for one reason in one minute, counted instead of recorded each."""

    object: Literal["refusal"] = "refusal"
    minute_at: Moment
    tenant: str | None
    key_prefix: str
    client_network: str
    endpoint: str
    error_code: str
    status: int
    requests: int


class RefusalList(ListAnswer):
    """Counts of refusals, newest first."""

    data: list[Refusal]
