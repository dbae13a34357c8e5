"""Default limits, for tenants that have none of their own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_OF_TENANTS = "of a tenant without a limit of its own; empty: unlimited"


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


OptionalLimit = Annotated[int | None, BeforeValidator(_none_if_empty)]


class QuotaDefaults(BaseModel):
    """Default limits, inherited by the settings. Spend in micro-dollars per day or month in UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default_requests_per_minute: OptionalLimit = Field(
        None, ge=0, description=f"requests per minute {_OF_TENANTS}"
    )
    default_tokens_per_minute: OptionalLimit = Field(
        None, ge=0, description=f"tokens per minute {_OF_TENANTS}"
    )
    default_concurrent_requests: OptionalLimit = Field(
        None, ge=0, description=f"concurrent requests {_OF_TENANTS}"
    )
    default_spend_per_day_microusd: OptionalLimit = Field(
        None, ge=0, description=f"spend per day in UTC, in micro-dollars, {_OF_TENANTS}"
    )
    default_spend_per_month_microusd: OptionalLimit = Field(
        None, ge=0, description=f"spend per month in UTC, in micro-dollars, {_OF_TENANTS}"
    )
