"""Request ids: generated ones, and those that clients send."""

from __future__ import annotations

import re
import uuid

from inference_worker.telemetry.log_formatters import mask_secrets

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def new_request_id() -> str:
    """Return a unique id: ``req_`` and 32 hexadecimal digits."""
    return f"req_{uuid.uuid4().hex}"


def accepted_id(text: str | None) -> str | None:
    """Return the client's id if it is safe in logs, records and headers, otherwise None."""
    if text is None or not _ACCEPTED_ID.fullmatch(text):
        return None
    # A key sent in the wrong header would be stored and logged as an id.
    return text if mask_secrets(text) == text else None
