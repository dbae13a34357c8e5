"""The period of a usage page: whole local days in the viewer's zone, cut into days or hours."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from tenants.usage.zones import day_start, hours_between, time_zone

ZONE_COOKIE = "cyllm_tz"
DEFAULT_DAYS = 14
MAX_DAYS = 400
MAX_DAYS_IN_HOURS = 3


@dataclass(frozen=True, slots=True)
class Period:
    """Local days ``first`` to ``last``, both included, in ``zone``; ``by_hour`` cuts them into hours."""

    first: dt.date
    last: dt.date
    zone: ZoneInfo
    by_hour: bool = False

    @property
    def start(self) -> dt.datetime:
        """The local midnight that begins the first day, in UTC."""
        return day_start(self.first, self.zone)

    @property
    def end(self) -> dt.datetime:
        """The local midnight that ends the last day, in UTC."""
        return day_start(self.last + dt.timedelta(days=1), self.zone)

    def buckets(self) -> list[dt.datetime]:
        """Return the starts of all buckets in the zone. Days may have 23 or 25 hours."""
        if self.by_hour:
            return list(hours_between(self.start, self.end, self.zone))
        days = (self.last - self.first).days + 1
        starts = (self.first + dt.timedelta(days=day) for day in range(days))
        return [dt.datetime.combine(day, dt.time(), self.zone) for day in starts]

    def bucket_end(self, start: dt.datetime) -> dt.datetime:
        """Return the end of the bucket that begins at ``start``, in UTC."""
        if self.by_hour:
            return start.astimezone(dt.UTC) + dt.timedelta(hours=1)
        return day_start(start.date() + dt.timedelta(days=1), self.zone)

    def query(self) -> str:
        """Return the period as a query string."""
        return urlencode({"from": self.first, "to": self.last, "tz": self.zone.key})


def period_from(query: Mapping[str, str], cookies: Mapping[str, str], now: dt.datetime) -> Period:
    """Return the period that an address asks for; the last two weeks by default.

    Raises ValidationError that names the parameter.
    """
    zone = _zone(query.get("tz"), cookies.get(ZONE_COOKIE, ""))
    today = now.astimezone(zone).date()
    last = _date("to", query.get("to"), today)
    first = _date("from", query.get("from"), min(last, today) - dt.timedelta(days=DEFAULT_DAYS - 1))
    days = (last - first).days + 1
    if days < 1:
        raise ValidationError(_("“from” is after “to”: exchange the two dates."), code="from")
    if days > MAX_DAYS:
        raise ValidationError(
            _("The range has %(days)s days. Choose at most %(max)s."),
            code="from",
            params={"days": days, "max": MAX_DAYS},
        )
    return Period(first, last, zone, by_hour=days <= MAX_DAYS_IN_HOURS)


def default_period(cookies: Mapping[str, str], now: dt.datetime) -> Period:
    """Return the last two weeks in the browser's zone."""
    return period_from({}, cookies, now)


def _zone(name: str | None, browser_zone: str) -> ZoneInfo:
    """Return the requested zone, or that of the browser, or UTC."""
    if name:
        try:
            return time_zone(name[:60])
        except ValidationError as error:
            raise ValidationError(f"“tz”: {error.messages[0]}", code="tz") from None
    try:
        return time_zone(browser_zone)
    except ValidationError:
        return time_zone("UTC")


def _date(name: str, value: str | None, default: dt.date) -> dt.date:
    if not value:
        return default
    try:
        date = dt.date.fromisoformat(value)
    except ValueError:
        date = None
    # Local midnights of the ends must be dates as well, in every zone.
    if date is None or not 2000 <= date.year <= 2200:
        message = _("“%(name)s” is %(value)s, which is not a date. Use the form 2026-12-31.")
        raise ValidationError(message, code=name, params={"name": name, "value": value[:40]})
    return date
