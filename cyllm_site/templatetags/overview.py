"""Filters of the admin's overview: amounts and times."""

from __future__ import annotations

import datetime as dt

from django import template
from django.utils.safestring import SafeString

from backoffice.display.money import dollars
from backoffice.display.times import time_html

register = template.Library()


@register.filter
def grouped(value: int) -> str:
    """Return a number with its thousands separated."""
    return f"{value:,}"


@register.filter
def in_dollars(microusd: int) -> str:
    """Return micro-dollars as dollars."""
    return dollars(microusd)


@register.filter
def ago(at: dt.datetime) -> SafeString | str:
    """Return how long ago a time is, with the time itself on hover."""
    return time_html(at)
