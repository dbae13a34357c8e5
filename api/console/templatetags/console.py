"""Template tags and filters of the console: addresses, numbers and times."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TypeVar, cast

from django import template
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from api.console.job_data.format_examples import FORMAT_EXAMPLES, FormatExample
from backoffice.display.sizes import size_text

register = template.Library()

MICRO = 1_000_000
ABSENT = "—"
F = TypeVar("F", bound=Callable[..., str])


def number_filter(function: F) -> F:
    """Register a filter for numbers that shows “—” for None and for missing values."""

    @wraps(function)
    def checked(value: object, *options: object) -> str:
        # Django passes an empty text for a missing variable.
        return ABSENT if value is None or value == "" else function(value, *options)

    register.filter(function.__name__, checked)
    return cast("F", checked)


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: object) -> str:
    """Return the page's query string with changes; None or an empty text removes a parameter."""
    values = context["request"].GET.copy()
    for name, value in changes.items():
        if value in (None, ""):
            values.pop(name, None)
        else:
            values[name] = str(value)
    return f"?{values.urlencode()}"


@register.simple_tag
def format_examples() -> tuple[FormatExample, ...]:
    """Return an example line of each format of datasets."""
    return FORMAT_EXAMPLES


@number_filter
def number(value: float, digits: int = 4) -> str:
    """Return a number with significant digits, such as 1.83 or 2e-5."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
    mantissa, exponent = f"{value:.{max(digits - 2, 1)}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


@number_filter
def count(value: int) -> str:
    """Return a count with separators between thousands."""
    return f"{value:,}"


@number_filter
def short_count(value: float) -> str:
    """Return a count with a unit, such as 12.4 k."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


@number_filter
def size(value: float) -> str:
    """Return a number of bytes with a binary unit, such as 38.2 GiB."""
    return size_text(value)


@number_filter
def money(microusd: int) -> str:
    """Return micro-dollars as dollars, with at least two decimals and two digits that aren't zero."""
    dollars = microusd / MICRO
    if dollars == 0 or abs(dollars) >= 1:
        return f"${dollars:,.2f}"
    return f"${dollars:.{min(6, max(2, 1 - math.floor(math.log10(abs(dollars)))))}f}"


@number_filter
def duration(seconds: float) -> str:
    """Return a duration such as 42 s, 3 min 20 s or 2 h 5 min."""
    if not math.isfinite(seconds):
        return ABSENT
    total_s = max(0, round(seconds))
    if total_s < 60:
        return gettext("%(s)d s") % {"s": total_s}
    if total_s < 3600:
        return gettext("%(min)d min %(s)d s") % {"min": total_s // 60, "s": total_s % 60}
    if total_s < 86400:
        return gettext("%(h)d h %(min)d min") % {"h": total_s // 3600, "min": total_s % 3600 // 60}
    return gettext("%(d)d d %(h)d h") % {"d": total_s // 86400, "h": total_s % 86400 // 3600}


@register.filter
def moment(value: dt.datetime | None) -> SafeString | str:
    """Return a time relative to now, with the exact time and its zone in the title; “—” for None."""
    if value is None:
        return ABSENT
    local = timezone.localtime(value)
    exact = f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"
    text = _relative((timezone.now() - value).total_seconds(), value)
    return format_html('<time datetime="{}" title="{}">{}</time>', value.isoformat(), exact, text)


def _relative(age_s: float, value: dt.datetime) -> str:
    if age_s < 0:
        return gettext("in %(time)s") % {"time": duration(-age_s)}
    if age_s < 45:
        return gettext("just now")
    if age_s < 3600:
        minutes = max(1, round(age_s / 60))
        return ngettext("%(n)d minute ago", "%(n)d minutes ago", minutes) % {"n": minutes}
    if age_s < 86400:
        hours = round(age_s / 3600)
        return ngettext("%(n)d hour ago", "%(n)d hours ago", hours) % {"n": hours}
    return date_format(timezone.localtime(value), "DATE_FORMAT")


@register.filter
def pretty(value: object) -> str:
    """Return a value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@register.filter
def total(value: dict[str, int] | None) -> int:
    """Return the sum of a mapping's values."""
    return sum((value or {}).values())


@register.filter
def get_item(value: Mapping[str, object], key: str) -> object:
    """Return a value of a mapping, empty if it has none."""
    return value.get(key, "")
