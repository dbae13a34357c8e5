"""Ids of requests: ours, and those that clients bring."""

from __future__ import annotations

import re
import uuid

from inference_worker.telemetry.lines import masked

_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def new_request_id() -> str:
    """A unique id: ``req_`` and 32 hexadecimal digits."""
    return f"req_{uuid.uuid4().hex}"


def accepted_id(text: str | None) -> str | None:
    """A client's own id, if it can't do harm in logs, records and headers; otherwise None."""
    if text is None or not _ACCEPTED.fullmatch(text):
        return None
    # A key in the wrong header would be stored, and logged, as an id.
    return text if masked(text) == text else None
