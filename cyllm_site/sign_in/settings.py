"""Limits of sign-ins: failures, second factor, and length of sessions."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SignInLimits(BaseModel):
    """Limits of sign-ins, inherited by the settings. Times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sign_in_failures: int = Field(
        5,
        ge=1,
        description="failed sign-ins with one account from one address before that pair is locked",
    )
    sign_in_failures_per_address: int = Field(
        50, ge=1, description="failed sign-ins from one address before the address is locked"
    )
    require_two_factor: bool | None = Field(
        None,
        description="whether staff and superusers need a second factor to sign in; default: in production",
    )
    session_idle_s: float = Field(
        12 * 3600.0, ge=60, description="time without requests after which a session ends"
    )
    session_max_s: float = Field(7 * 24 * 3600.0, ge=60, description="greatest age of a session")
    sign_in_lock_s: float = Field(
        900.0,
        ge=1,
        description="time from the last counted failure until sign-in is possible again, and for which "
        "failures are counted",
    )
