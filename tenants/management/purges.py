"""Options and output of the commands that delete old records: without ``--yes`` they only count."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from backoffice.command_base import Options
from tenants.management.arguments import utc_moment
from tenants.management.lookup import tenant_filter
from tenants.models import Tenant


def purge_arguments(parser: CommandParser) -> None:
    """Add ``--before``, ``--tenant`` and ``--yes``."""
    parser.add_argument(
        "--before", type=utc_moment, required=True, metavar="TIME", help="in UTC, such as 2026-01-31"
    )
    parser.add_argument("--tenant", metavar="SLUG", help="only of this tenant; default: of all")
    parser.add_argument("--yes", action="store_true", help="delete; without it, only count")


@dataclass(frozen=True, slots=True)
class PurgeBounds:
    """The records to delete: those before a time in UTC, of one tenant, or with None of all."""

    before: dt.datetime
    tenant: Tenant | None


def purge_bounds(options: Options) -> PurgeBounds:
    """Return the bounds that the options give. Raises CommandError."""
    if options["before"] > timezone.now():
        raise CommandError("--before must not be in the future.")
    return PurgeBounds(options["before"], tenant_filter(options["tenant"]))


def purge_text(counts: Mapping[str, int], options: Options) -> str:
    """Return the result as a sentence; ``counts`` are by the names of what is deleted."""
    amounts = ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in counts.items())
    scope = f"before {options['before']:%Y-%m-%d %H:%M:%S} UTC"
    if options["tenant"]:
        scope += f" of {options['tenant']}"
    if options["yes"]:
        return f"Deleted {scope}: {amounts}."
    return f"Would delete {scope}: {amounts}. Nothing is deleted without --yes."


def purge_row(counts: Mapping[str, int], options: Options) -> dict[str, object]:
    """Return the result for JSON."""
    return {**counts, "before": options["before"], "deleted": options["yes"]}
