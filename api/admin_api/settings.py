"""Settings of the administrative API."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AdminApiLimits(BaseModel):
    """Limits of the administrative API, inherited by the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    admin_requests_per_minute: int = Field(
        600,
        ge=1,
        description="requests per minute of one person, with all keys together, or of one key without a "
        "person to the administrative API; a key with a lower limit of requests per minute has its own",
    )
