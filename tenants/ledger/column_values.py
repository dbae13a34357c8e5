"""Conversion of values in facts to values that columns can hold."""

from __future__ import annotations

import datetime as dt
import ipaddress
import uuid

MAX_NAME = 200
MAX_ID = 128
MAX_ERROR_CODE = 100


def column_text(value: str | None, max_length: int) -> str:
    """Return text that fits a column: no NUL, at most ``max_length`` characters, empty for None."""
    # PostgreSQL's text type rejects NUL, and clients choose some of these texts.
    return (value or "").replace("\x00", "\N{REPLACEMENT CHARACTER}")[:max_length]


def optional_uuid(value: str | None) -> uuid.UUID | None:
    """Parse a UUID; None stays None."""
    return uuid.UUID(value) if value is not None else None


def utc_time(unix_s: float) -> dt.datetime:
    """Return a Unix time as an aware time in UTC."""
    return dt.datetime.fromtimestamp(unix_s, dt.UTC)


def address(value: str) -> str | None:
    """Return a valid IP address without its zone, None for any other text."""
    try:
        # PostgreSQL's inet type holds no IPv6 zone.
        return str(ipaddress.ip_address(value.partition("%")[0]))
    except ValueError:
        return None
