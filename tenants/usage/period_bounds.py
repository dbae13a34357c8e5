"""Bounds of periods as people write them: a date, or a time with or without an offset."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from zoneinfo import ZoneInfo

from tenants.usage.zones import DAY, day_start

_LOST_PLUS = re.compile(r"\d \d\d:?\d\d")
OUTSIDE_CALENDAR = "it is outside of the years 1 to 9999 in UTC"


def parse_bound(text: str) -> dt.date:
    """Parse a date or a time such as ``2026-03-01T09:30``. Raises ValueError with a text for people."""
    with contextlib.suppress(ValueError):
        return dt.date.fromisoformat(text)
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        hint = "; in an address, write + as %2B" if _LOST_PLUS.search(text) else ""
        raise ValueError(
            f"'{text}' is not a date such as 2026-03-01 or a time such as 2026-03-01T09:30{hint}"
        ) from None


def first_instant(bound: dt.date, zone: ZoneInfo) -> dt.datetime:
    """Return the instant of a time, or the first instant of a date, in UTC.

    A time without an offset is one of the zone. Raises ValueError with a text for people.
    """
    try:
        if isinstance(bound, dt.datetime):
            return (bound if bound.tzinfo else bound.replace(tzinfo=zone)).astimezone(dt.UTC)
        return day_start(bound, zone)
    except OverflowError:
        raise ValueError(OUTSIDE_CALENDAR) from None


def end_instant(bound: dt.date, zone: ZoneInfo) -> dt.datetime:
    """Return the instant of a time, or the end of a date, in UTC. Raises like ``first_instant``."""
    if isinstance(bound, dt.datetime):
        return first_instant(bound, zone)
    if bound == dt.date.max:
        raise ValueError(OUTSIDE_CALENDAR)
    return first_instant(bound + DAY, zone)
