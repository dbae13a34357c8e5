"""The id that links log lines, records and messages of one request."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="-")

_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def new_request_id() -> str:
    """A unique id: ``req_`` and 32 hexadecimal digits."""
    return f"req_{uuid.uuid4().hex}"


def accepted_id(text: str | None) -> str | None:
    """A client's own id, if it can't do harm in logs and headers; otherwise None."""
    return text if text is not None and _ACCEPTED.fullmatch(text) else None
