"""Numbers on the command line, refused where they make no sense, and lists cut to so many rows."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from typing import TypeVar

from django.core.management.base import CommandParser, OutputWrapper
from django.db.models import Model, QuerySet

from backoffice.command_base import Options

Record = TypeVar("Record", bound=Model)

LONGEST_DAYS = 36500
SHOWN = 50


def days(text: str) -> float:
    """A span in days, more than none and at most a hundred years. Raises ArgumentTypeError."""
    return _span(text, LONGEST_DAYS)


def hours(text: str) -> float:
    """A span in hours, more than none and at most a hundred years. Raises ArgumentTypeError."""
    return _span(text, LONGEST_DAYS * 24)


def rows(text: str) -> int:
    """A number of rows, at least one. Raises ArgumentTypeError."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError("must be 1 or more")
    return number


def limit_argument(parser: CommandParser) -> None:
    """Declare ``--limit``, for ``newest``."""
    parser.add_argument(
        "--limit", type=rows, help=f"at most so many; default: {SHOWN}, and with --json all there are"
    )


def newest(found: QuerySet[Record], options: Options, stderr: OutputWrapper) -> list[Record]:
    """The first rows, as many as are to be shown; says on ``stderr`` if there are more."""
    limit = options["limit"] or (None if options["json"] else SHOWN)
    shown = list(found[:limit])
    if limit is not None and len(shown) == limit and (total := found.count()) > limit:
        stderr.write(f"{limit} of {total} shown; --limit N shows more.", style_func=str)
    return shown


def _span(text: str, longest: int) -> float:
    number = float(text)
    if math.isnan(number) or not 0 < number <= longest:
        raise ArgumentTypeError(f"must be more than 0 and at most {longest}")
    return number
