"""Texts of times and durations. Pages show how long ago, with the exact time and its zone on hover."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.contrib.admin import display
from django.db.models import DateTimeField, Model
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _

JUST_NOW = dt.timedelta(minutes=1)


def relative_time(at: dt.datetime, now: dt.datetime | None = None) -> str:
    """Return ``3 hours ago``, ``in 2 days`` or ``just now``."""
    now = now or timezone.now()
    if abs(now - at) < JUST_NOW:
        return _("just now")
    if at < now:
        return _("%(time)s ago") % {"time": timesince(at, now, depth=1)}
    return _("in %(time)s") % {"time": timeuntil(at, now, depth=1)}


def exact_time(at: dt.datetime) -> str:
    """Return the time in UTC to the second, with its zone."""
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def seconds_text(seconds: float) -> str:
    """Return a duration to the millisecond, such as ``0.250 s``."""
    return f"{seconds:.3f} s"


def time_html(at: dt.datetime | None) -> SafeString | str:
    """Return the relative time as an element that shows the exact one on hover; ``-`` for None."""
    if at is None:
        return "-"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', at.isoformat(), exact_time(at), relative_time(at)
    )


def time_column(field: DateTimeField[Any, Any]) -> Callable[[Model], SafeString | str]:
    """Return a column of an admin list that shows a field as ``time_html``, with the zone in its heading."""

    @display(description=format_lazy("{} (UTC)", field.verbose_name), ordering=field.name)
    def column(row: Model) -> SafeString | str:
        return time_html(getattr(row, field.name))

    column.__name__ = field.name
    return column
