"""Errors of limits of tenants and keys."""

from __future__ import annotations

from typing_extensions import override

from api.openai.errors.base import ApiError, ErrorType
from api.openai.errors.retry_after import NO_RETRY

TOKENS_PER_MINUTE = "tokens per minute"
# The holders of limits in messages, and in the paths by which audit records name limits.
LIMIT_HOLDERS = {"your tenant": "tenant", "this API key": "key"}


def limit_path(subject: str, limit_name: str) -> str:
    """Return the path of a limit, such as ``tenant.requests_per_minute``."""
    return f"{LIMIT_HOLDERS.get(subject, subject)}.{limit_name.replace(' ', '_')}"


def limit_details(path: str) -> dict[str, str]:
    """Return the details of a message that are in the path of a limit."""
    holder, _, name = path.partition(".")
    subjects = {short: subject for subject, short in LIMIT_HOLDERS.items()}
    return {"subject": subjects.get(holder, ""), "limit_name": name.replace("_", " ")}


class RateLimitExceeded(
    ApiError,
    code="rate_limit_exceeded",
    status=429,
    message="Rate limit reached for {subject} on {limit_name}: limit {limit}, used {used}, requested "
    "{requested}. {advice}",
    fix="Wait for the time in `Retry-After`, send fewer or smaller requests, or ask your administrator for a "
    "higher limit. With `x-should-retry: false`, waiting doesn't help.",
):
    """As in OpenAI's API, its type is the kind of the limit."""

    subject: str
    limit_name: str
    limit: int
    used: int
    requested: int
    advice: str

    @classmethod
    @override
    def error_types(cls) -> tuple[ErrorType, ...]:
        return ("requests", "tokens")

    @override
    def own_type(self) -> ErrorType:
        return "tokens" if self.limit_name == TOKENS_PER_MINUTE else "requests"

    @property
    @override
    def recorded_param(self) -> str:
        return limit_path(self.subject, self.limit_name)


class InsufficientQuota(
    ApiError,
    code="insufficient_quota",
    status=429,
    message="The budget of {subject} doesn't cover this request: {limit_name} is limited to {limit}, "
    "{used} is spent or reserved, and this request can cost {requested}. {advice}",
    fix="Follow the message: it says whether waiting helps. Completions with a lower limit "
    "(`max_completion_tokens`, `max_tokens`, `max_output_tokens`) reserve less. Otherwise, ask your "
    "administrator for a larger budget. Retries are refused as well.",
):
    """Amounts are texts in dollars. OpenAI's SDKs don't repeat the request."""

    subject: str
    limit_name: str
    limit: str
    used: str
    requested: str
    advice: str

    @property
    @override
    def recorded_param(self) -> str:
        return limit_path(self.subject, self.limit_name)

    @override
    def __post_init__(self) -> None:
        self.headers = {**NO_RETRY, **self.headers}
        super().__post_init__()

    @classmethod
    @override
    def error_type(cls) -> ErrorType:
        return "insufficient_quota"
