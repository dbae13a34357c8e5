"""Schemas of API keys."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from api.admin_api.schemas.base import Answer, ListAnswer, ListQuery, Moment, RequestBody
from api.admin_api.schemas.tenants import DisplayName, Limits, LimitsBody
from tenants.choices import Scope as ScopeChoice

ScopeName: TypeAlias = Literal[
    "inference",
    "models.read",
    "files",
    "files.read",
    "fine_tuning",
    "fine_tuning.read",
    "admin",
    "admin.read",
]
Scopes: TypeAlias = Annotated[list[ScopeName], Field(min_length=1, max_length=len(ScopeChoice.values))]
Networks: TypeAlias = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=43)]], Field(max_length=100)
]
KeyStateName: TypeAlias = Literal["valid", "disabled", "expired", "revoked"]


class Key(Answer):
    """An API key, never its secret. ``user`` or ``service_account``: its holder, if not the tenant.

    ``state`` disabled: the tenant is not active.
    """

    object: Literal["api_key"] = "api_key"
    id: uuid.UUID
    tenant: str
    name: str
    prefix: str
    scopes: list[str]
    state: KeyStateName
    user: str | None
    service_account: str | None
    allowed_networks: list[str]
    limits: Limits
    replaces: uuid.UUID | None
    created_by: str | None
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    last_used_at: Moment | None
    last_refused_at: Moment | None


class KeyWithSecret(Key):
    """A new key. ``secret`` is shown only once and stored nowhere."""

    secret: str


class KeyList(ListAnswer):
    """Keys, newest first."""

    data: list[Key]


class KeysQuery(ListQuery):
    """Filters of keys."""

    state: KeyStateName | None = None


class KeySettings(RequestBody):
    """Settings of a key. ``expires_at`` null: it never expires. No networks: every address."""

    expires_at: Moment | None = None
    allowed_networks: Networks = Field(default_factory=list)
    limits: LimitsBody = Field(default_factory=LimitsBody)


class NewKey(KeySettings):
    """A key to create. It belongs to a service account, or to the person who creates it."""

    name: DisplayName
    scopes: Scopes = ["inference", "models.read", "files", "fine_tuning"]
    service_account: Annotated[str, Field(min_length=1, max_length=100)] | None = None


class KeyPatch(KeySettings):
    """Changes of a key."""

    name: DisplayName = Field(default="")
    scopes: Scopes = Field(default=["inference"])


class Rotation(RequestBody):
    """The rotation of a key. ``expires_at``: of the successor, by default that of the old key."""

    grace_s: Annotated[int, Field(ge=0, le=90 * 24 * 3600)] = Field(
        3600, description="Seconds for which the old key stays valid."
    )
    expires_at: Moment | None = None
