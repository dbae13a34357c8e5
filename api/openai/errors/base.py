"""``ApiError``: the base of every error that a client can receive, and its JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self, dataclass_transform

from api.openai.errors.retry_after import with_retry_after

MAX_PRINTABLE_LENGTH = 200

ErrorType = Literal["invalid_request_error", "requests", "tokens", "insufficient_quota", "server_error"]


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class _ErrorDeclaration:
    """Turns each subclass into a dataclass, so that mypy checks the arguments of each error."""

    code: ClassVar[str]
    status: ClassVar[int]
    message_format: ClassVar[str]
    fix: ClassVar[str]

    def __init_subclass__(
        cls, *, code: str = "", status: int = 500, message: str = "", fix: str = ""
    ) -> None:
        super().__init_subclass__()
        cls.code, cls.status, cls.message_format, cls.fix = code, status, message, fix
        dataclass(kw_only=True, eq=False, repr=False)(cls)


class ApiError(_ErrorDeclaration, Exception):
    """Base of the errors in the catalogue. The fields of a subclass are the details in its message.

    ``param`` is the path of the parameter at fault. ``headers`` are sent with the response; a retryable
    status always has ``retry-after``.
    """

    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.param is not None:
            self.param = printable(self.param)
        self.headers = with_retry_after(self.status, self.headers)
        self.message = self.message_format.format_map(vars(self))

    def __str__(self) -> str:
        return self.code

    @classmethod
    def error_type(cls) -> ErrorType:
        """Return OpenAI's ``error.type``, which depends on the status."""
        if cls.status == 429:
            return "requests"
        return "server_error" if cls.status >= 500 else "invalid_request_error"

    @classmethod
    def error_types(cls) -> tuple[ErrorType, ...]:
        """Return every ``error.type`` that this error can have."""
        return (cls.error_type(),)

    def own_type(self) -> ErrorType:
        """Return the ``error.type`` of this error."""
        return self.error_type()

    @property
    def recorded_param(self) -> str | None:
        """The cause that audit records name: the parameter at fault, or its substitute, such as a limit."""
        return self.param

    def at(self, param: str) -> Self:
        """Return the same error about another parameter."""
        return replace(self, param=param)

    def body(self) -> bytes:
        """Return the error in OpenAI's JSON format. Non-ASCII characters and angle brackets are escaped."""
        error = {
            "message": self.message,
            "type": self.own_type(),
            "param": self.param,
            "code": self.code,
        }
        # Text from the request must not become a tag if a client renders this as HTML.
        text = json.dumps({"error": error})
        return text.replace("<", "\\u003c").replace(">", "\\u003e").encode()


def printable(text: str) -> str:
    """Return text that is safe to echo: at most 200 characters, without line breaks or control characters."""
    beginning = text if len(text) <= MAX_PRINTABLE_LENGTH else text[:MAX_PRINTABLE_LENGTH] + "…"
    return "".join(char if char.isprintable() else "�" for char in beginning)
