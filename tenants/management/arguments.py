"""Argument types and result limits of the management commands."""

from __future__ import annotations

import datetime as dt
import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import TypeVar
from zoneinfo import ZoneInfo

from django.core.management.base import CommandParser, OutputWrapper
from django.db.models import Model, QuerySet
from django.utils import timezone

from backoffice.command_base import Options
from tenants.usage.period_bounds import end_instant, first_instant, parse_bound

Record = TypeVar("Record", bound=Model)

MAX_DAYS = 36500
DEFAULT_LIMIT = 50
UTC = ZoneInfo("UTC")
MAX_ROWS = 2**31 - 1  # more than any table has, and a number that the database takes


def days(text: str) -> float:
    """Parse a number of days, more than 0 and at most a hundred years. Raises ArgumentTypeError."""
    return _duration(text, MAX_DAYS)


def hours(text: str) -> float:
    """Parse a number of hours, more than 0 and at most a hundred years. Raises ArgumentTypeError."""
    return _duration(text, MAX_DAYS * 24)


def since(hours: float | None) -> dt.datetime | None:
    """Return the time this many hours ago, None for no limit."""
    return None if hours is None else timezone.now() - dt.timedelta(hours=hours)


def utc_moment(text: str) -> dt.datetime:
    """Parse a date or a time in UTC such as 2026-01-31 or 2026-01-31T12:00. Raises ArgumentTypeError."""
    return _instant(text, first_instant)


def utc_end(text: str) -> dt.datetime:
    """Parse a time in UTC, or a date as its end. Raises ArgumentTypeError."""
    return _instant(text, end_instant)


def _instant(text: str, convert: Callable[[dt.date, ZoneInfo], dt.datetime]) -> dt.datetime:
    try:
        return convert(parse_bound(text), UTC)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def row_count(text: str) -> int:
    """Parse a number of rows, at least 1. Raises ArgumentTypeError."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError("must be 1 or more")
    return min(number, MAX_ROWS)


def limit_argument(parser: CommandParser) -> None:
    """Add the argument ``--limit``, which ``newest`` applies."""
    parser.add_argument(
        "--limit",
        type=row_count,
        help=f"maximum number of rows; default: {DEFAULT_LIMIT}, or all rows with --json",
    )


def newest(records: QuerySet[Record], options: Options, stderr: OutputWrapper) -> list[Record]:
    """Return the first records up to the limit, with a note on ``stderr`` if that omits any."""
    limit = options["limit"] or (None if options["json"] else DEFAULT_LIMIT)
    first = list(records[:limit])
    if limit is not None and len(first) == limit and (total := records.count()) > limit:
        stderr.write(f"Showing {limit} of {total} rows; use --limit to show more.", style_func=str)
    return first


def _duration(text: str, maximum: int) -> float:
    number = float(text)
    if math.isnan(number) or not 0 < number <= maximum:
        raise ArgumentTypeError(f"must be more than 0 and at most {maximum}")
    return number
