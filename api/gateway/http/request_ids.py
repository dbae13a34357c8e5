"""Request ids: generated ones, and those that clients send."""

from __future__ import annotations

import re
import uuid

from inference_worker.telemetry.masking import mask_secrets

_SEPARATORS = str.maketrans("", "", "-._")
_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def new_request_id() -> str:
    """Return a unique id: ``req_`` and 32 hexadecimal digits."""
    return f"req_{uuid.uuid4().hex}"


def accepted_id(text: str | None) -> str | None:
    """Return the client's id if it is safe in logs, records and headers, otherwise None."""
    if text is None or not _ACCEPTED_ID.fullmatch(text):
        return None
    # A key or a card's number sent in the wrong header would be stored and logged as an id.
    return None if mask_secrets(text) != text or is_card_number(text) else text


def is_card_number(text: str) -> bool:
    """Return whether the text is 13 to 16 digits with the check digit of payment cards (ISO/IEC 7812-1)."""
    digits = text.translate(_SEPARATORS)
    if not (digits.isdecimal() and 13 <= len(digits) <= 16):
        return False
    products = (int(digit) * (1 + position % 2) for position, digit in enumerate(reversed(digits)))
    return sum(number - 9 if number > 9 else number for number in products) % 10 == 0
