"""Options of the limits that tenants and keys have, for the commands."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandParser

from backoffice.command_base import Options, microusd_argument
from backoffice.display.money import dollars
from tenants.limits.changes import LIMIT_COLUMNS
from tenants.limits.columns import UsageLimits

NONE = "none"


def none_or(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return an argument type that also accepts ``none``, which clears the setting."""

    def parsed(text: str) -> Any:
        return NONE if text.lower() == NONE else parse(text)

    return parsed


def whole_number(text: str) -> int:
    """Parse a number of 0 or more. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return int(text)


def limit_arguments(parser: CommandParser, *, removal: str) -> None:
    """Add the options of the limits. ``removal`` tells what applies once a limit is removed."""
    group = parser.add_argument_group("limits", f"the value none removes a limit: {removal}")
    for name in ("requests-per-minute", "tokens-per-minute", "concurrent-requests"):
        text = "a whole number, or none to remove the limit"
        group.add_argument(f"--{name}", type=none_or(whole_number), metavar="N", help=text)
    for period in ("day", "month"):
        group.add_argument(
            f"--spend-per-{period}",
            dest=f"spend_per_{period}_microusd",
            type=none_or(microusd_argument),
            metavar="DOLLARS",
            help=f"such as 12.50, per {period} in UTC, or none to remove the limit",
        )
    group.add_argument(
        "--allowed-model",
        dest="allowed_models",
        action="append",
        metavar="MODEL",
        help="can be repeated; all allowed models, replacing the existing ones, or none to allow every model",
    )


def settings_of(options: Options, *names: str) -> dict[str, Any]:
    """Return those of the settings that the command line gives, None for those that it clears."""
    values = {name: options[name] for name in (*LIMIT_COLUMNS, *names) if options[name] is not None}
    settings = {name: None if value == NONE else value for name, value in values.items()}
    return settings | list_of(options, "allowed_models")


def list_of(options: Options, name: str) -> dict[str, Any]:
    """Return the list that a repeated option gives; ``none`` empties it."""
    values: list[str] | None = options[name]
    return {} if values is None else {name: [value for value in values if value.lower() != NONE]}


def limit_row(limits: UsageLimits) -> dict[str, object]:
    """Return the limits for a table or JSON: spend in dollars as text."""
    day, month = limits.spend_per_day_microusd, limits.spend_per_month_microusd
    return {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "concurrent_requests": limits.concurrent_requests,
        "spend_per_day": None if day is None else dollars(day),
        "spend_per_month": None if month is None else dollars(month),
        "allowed_models": sorted(limits.allowed_models),
    }
