"""Schemas of tenants and members."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from api.admin_api.schemas.base import (
    MAX_BIG_INTEGER,
    Answer,
    Limit,
    ListAnswer,
    ListQuery,
    MicroUsd,
    Moment,
    RequestBody,
)

Slug: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
DisplayName: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
ModelNames: TypeAlias = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=200)
]
Tier: TypeAlias = Literal["batch", "standard", "priority"]
Role: TypeAlias = Literal["owner", "admin", "member", "viewer"]


class Limits(Answer):
    """Limits of a tenant or a key; null doesn't limit. Spend in micro-dollars per day or month in UTC."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_requests: int | None
    spend_per_day_microusd: int | None
    spend_per_month_microusd: int | None
    allowed_models: list[str]


class LimitsBody(RequestBody):
    """New limits. Null removes a limit; an empty list allows every model."""

    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    concurrent_requests: Limit | None = None
    spend_per_day_microusd: MicroUsd | None = None
    spend_per_month_microusd: MicroUsd | None = None
    allowed_models: ModelNames = Field(default_factory=list)


class Tenant(Answer):
    """A tenant. Null in ``stored_bytes`` and ``audit_keep_days`` is the platform's setting."""

    object: Literal["tenant"] = "tenant"
    id: uuid.UUID
    slug: str
    name: str
    active: bool
    tier: Tier
    stored_bytes: int | None
    audit_keep_days: int | None
    limits: Limits
    role: Role = Field(description="The caller's role in the tenant.")
    created_at: Moment


class TenantList(ListAnswer):
    """Tenants by short name."""

    data: list[Tenant]


class TenantsQuery(ListQuery):
    """Filters of tenants."""

    active: bool | None = None


class TenantSettings(RequestBody):
    """Settings of a tenant, for operators of the platform. Null: the platform's setting."""

    active: bool = True
    tier: Tier = "standard"
    stored_bytes: Annotated[int, Field(ge=0, le=MAX_BIG_INTEGER)] | None = None
    audit_keep_days: Annotated[int, Field(ge=1, le=36500)] | None = None
    limits: LimitsBody = Field(default_factory=LimitsBody)


class NewTenant(TenantSettings):
    """A tenant to create."""

    slug: Slug
    name: DisplayName


class TenantPatch(TenantSettings):
    """Changes of a tenant. Its owners may change ``name``, operators of the platform everything."""

    slug: Slug = Field(default="")
    name: DisplayName = Field(default="")


class Member(Answer):
    """A person's role in a tenant."""

    object: Literal["member"] = "member"
    username: str
    role: Role
    active: bool
    created_at: Moment


class MemberList(ListAnswer):
    """Members by user name."""

    data: list[Member]


class MembersQuery(ListQuery):
    """Filters of members."""

    role: Role | None = None


class MemberBody(RequestBody):
    """The role to give."""

    role: Role
