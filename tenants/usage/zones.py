"""Days and hours of a time zone, with exact beginnings on days when clocks change."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterator
from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

QUARTER = dt.timedelta(minutes=15)
DAY = dt.timedelta(days=1)


def time_zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name such as ``Asia/Kolkata``. Raises ValidationError."""
    # Looked up in a list, because ZoneInfo would pass a name such as ../x to the file system.
    if name not in _zone_names():
        raise ValidationError(
            _("%(name)s is not a time zone. Use an IANA name such as Europe/Berlin or UTC."),
            code="unknown_zone",
            params={"name": name},
        )
    return ZoneInfo(name)


def day_start(day: dt.date, zone: ZoneInfo) -> dt.datetime:
    """Return the first instant of a day in UTC, also if midnight is skipped or occurs twice."""
    return dt.datetime.combine(day, dt.time(), zone).astimezone(dt.UTC)


def hour_start(instant: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return the beginning of the local hour. An hour that occurs twice counts as two."""
    local = instant.astimezone(zone)
    past = dt.timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    start = (instant.astimezone(dt.UTC) - past).astimezone(zone)
    # A fixed offset, because Python compares times of one zone by their clocks, not as instants.
    return start.astimezone(dt.timezone(start.utcoffset() or dt.timedelta()))


def days_between(since: dt.datetime, until: dt.datetime, zone: ZoneInfo) -> Iterator[dt.date]:
    """Yield the days of a zone that begin before ``until`` and end after ``since``."""
    day = since.astimezone(zone).date()
    while day_start(day, zone) < until:
        yield day
        day += DAY


def hours_between(since: dt.datetime, until: dt.datetime, zone: ZoneInfo) -> Iterator[dt.datetime]:
    """Yield the beginnings of the hours on a zone's clocks that overlap the period."""
    # Where clocks change by half an hour, one hour of the day lasts 30 or 90 minutes.
    instant, last = since, None
    while instant < until:
        start = hour_start(instant, zone)
        if start != last:
            yield start
        last = start
        instant += QUARTER


@functools.cache
def _zone_names() -> frozenset[str]:
    """Return the names of all zones. Reading them opens some 600 files."""
    return frozenset(available_timezones())
