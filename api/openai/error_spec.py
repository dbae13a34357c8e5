"""One kind of API error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ErrorType = Literal["invalid_request_error", "requests", "server_error"]
TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """One kind of error. ``message`` is a format string for the details of the single case."""

    code: str
    status: int
    message: str
    fix: str

    @property
    def type(self) -> ErrorType:
        """OpenAI's ``error.type``: none of their own for keys and scopes, but one for what was too many."""
        if self.status == TOO_MANY:
            return "requests"
        return "server_error" if self.status >= 500 else "invalid_request_error"
