"""Headers that describe a body: media type, encoding and length."""

from __future__ import annotations

import re

from api.gateway.http.exchange import Exchange
from api.openai.errors.access import RequestTooLarge, UnsupportedMediaType

_MEDIA_TYPE = re.compile(r'application/json\s*(?:;\s*charset\s*=\s*"?utf-?8"?\s*)?;?\s*', re.IGNORECASE)


def check_body_headers(exchange: Exchange, max_body_bytes: int) -> None:
    """Refuse a body by its headers, before any of it is read. Raises ApiError."""
    content_type = exchange.header(b"content-type")
    if content_type is None or not _MEDIA_TYPE.fullmatch(content_type.strip()):
        raise UnsupportedMediaType()
    if (exchange.header(b"content-encoding") or "identity").strip().lower() != "identity":
        raise UnsupportedMediaType()
    length = exchange.header(b"content-length")
    if length is not None and length.isascii() and length.isdigit() and int(length) > max_body_bytes:
        raise RequestTooLarge(limit=max_body_bytes)
