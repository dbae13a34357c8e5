"""Headers that describe a body: media type, encoding and length."""

from __future__ import annotations

import re

from api.gateway.http.exchange import Exchange
from api.openai.errors.access import RequestTooLarge, UnsupportedMediaType

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = rf'\s*;\s*(?:({_WORD})\s*=\s*({_WORD}|"[^"\\]*"))?'
_MEDIA_TYPE = re.compile(rf"\s*({_WORD}/{_WORD})((?:{_PARAMETER})*)\s*")
_PARAMETERS = re.compile(_PARAMETER)
_JSON = re.compile(r"application/(?:[^/]+\+)?json|text/json")
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})  # UTF-8 and its subset
_CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
_ACCEPTED = {"accept": "application/json", "accept-encoding": "gzip, deflate"}


def check_body_headers(exchange: Exchange, max_body_bytes: int) -> str | None:
    """Refuse a body by its headers, before any of it is read. Raises ApiError.

    Returns the content coding of the body, ``gzip`` or ``deflate``, or None.
    """
    if not _is_json(exchange.header(b"content-type") or ""):
        raise UnsupportedMediaType(headers=_ACCEPTED)
    length = exchange.content_length
    if length is not None and length > max_body_bytes:
        raise RequestTooLarge(limit=max_body_bytes)
    return _content_coding(exchange.header(b"content-encoding") or "")


def _is_json(content_type: str) -> bool:
    """Return whether the media type is JSON in UTF-8. A header that is sent twice may repeat itself."""
    position = 0
    while match := _MEDIA_TYPE.match(content_type, position):
        if not _JSON.fullmatch(match[1].lower()):
            return False
        for name, value in _PARAMETERS.findall(match[2]):
            if name.lower() == "charset" and value.strip('" ').lower() not in _CHARSETS:
                return False
        position = match.end()
        if position == len(content_type):
            return True
        if content_type[position] != ",":
            return False
        position += 1
    return False


def _content_coding(header: str) -> str | None:
    codings = [
        coding for part in header.split(",") if (coding := part.strip().lower()) not in ("", "identity")
    ]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _CODINGS:
        raise UnsupportedMediaType(headers=_ACCEPTED)
    return _CODINGS[codings[0]]
