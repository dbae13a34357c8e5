"""Options that select usage and audit records, and periods in a time zone."""

from __future__ import annotations

import datetime as dt
from argparse import ArgumentTypeError
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from backoffice.command_base import Options, Row
from tenants.audit_trail.selectors import ChangeFilter
from tenants.choices import RecordOutcome
from tenants.management.arguments import hours, limit_argument, since
from tenants.management.lookup import key_by_prefix, tenant_filter
from tenants.usage.filters import RecordFilter
from tenants.usage.period_bounds import end_instant, first_instant, parse_bound
from tenants.usage.zones import time_zone


def zone(text: str) -> ZoneInfo:
    """Parse the name of a time zone. Raises ArgumentTypeError."""
    try:
        return time_zone(text)
    except ValidationError as error:
        raise ArgumentTypeError(error.messages[0]) from None


def moment(text: str) -> dt.date:
    """Parse a date or a time such as ``2026-03-01T09:30``. Raises ArgumentTypeError."""
    try:
        return parse_bound(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def period_arguments(parser: CommandParser) -> None:
    """Add ``--from``, ``--to`` and ``--tz``."""
    parser.add_argument(
        "--from", dest="from_", type=moment, metavar="TIME", help="a date or time, such as 2026-03-01T09:30"
    )
    parser.add_argument(
        "--to", type=moment, metavar="TIME", help="up to this time, or to the end of this date"
    )
    parser.add_argument(
        "--tz",
        type=zone,
        default="UTC",
        metavar="ZONE",
        help="time zone of --from and --to, and of days and hours in sums, such as Asia/Kolkata; default: "
        "UTC. Records are listed with their times in it; JSON has UTC",
    )


def in_zone(row: Row, options: Options) -> dict[str, object]:
    """Return the row with its times in the zone of ``--tz``."""
    zone = options["tz"]
    return {
        name: value.astimezone(zone) if isinstance(value, dt.datetime) else value
        for name, value in row.items()
    }


def period(options: Options) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Return the bounds of the period, the end excluded. Raises CommandError."""
    start, end, tz = options["from_"], options["to"], options["tz"]
    try:
        since_at = None if start is None else first_instant(start, tz)
        until = None if end is None else end_instant(end, tz)
    except ValueError as error:
        raise CommandError(f"The period can't be used: {error}.") from None
    if since_at is not None and until is not None and since_at >= until:
        raise CommandError("--from must be before --to.")
    return since_at, until


def record_arguments(parser: CommandParser) -> None:
    """Add the options that select usage and audit records."""
    parser.add_argument("--tenant", metavar="SLUG")
    parser.add_argument("--key", metavar="PREFIX", help="only this key: its prefix or all of it")
    parser.add_argument("--model", help="only requests for this model")
    parser.add_argument("--endpoint", metavar="PATH", help="such as /v1/chat/completions")
    parser.add_argument("--outcome", choices=RecordOutcome.values)
    parser.add_argument("--code", help="only requests with this error code")
    parser.add_argument("--request", metavar="ID", help="only this request")
    parser.add_argument("--correlation-id", metavar="ID", help="only requests with this X-Request-ID")
    parser.add_argument("--hours", type=hours, help="only the last HOURS hours", metavar="HOURS")
    period_arguments(parser)
    limit_argument(parser)


def change_arguments(parser: CommandParser) -> None:
    """Add the options that select administrative changes."""
    parser.add_argument("--tenant", metavar="SLUG")
    parser.add_argument("--actor", metavar="NAME", help="such as user:alice, or alice alone")
    parser.add_argument("--action", help="such as key.revoke, or key for all actions on keys")
    parser.add_argument("--object", metavar="TEXT", help="id of the changed object, or a part of its name")
    parser.add_argument(
        "--request", metavar="ID", help="id of a request or command, or its first 8 characters or more"
    )
    parser.add_argument("--hours", type=hours, help="only the last HOURS hours", metavar="HOURS")
    period_arguments(parser)
    limit_argument(parser)


def change_filter(options: Options) -> ChangeFilter:
    """Return the filter of changes that the options describe. Raises CommandError."""
    tenant = tenant_filter(options["tenant"])
    start, end = _period_with_hours(options)
    return ChangeFilter(
        tenant_id=None if tenant is None else tenant.id,
        actor=options["actor"],
        action=options["action"],
        object_text=options["object"],
        request_id=options["request"],
        since=start,
        until=end,
    )


def record_filter(options: Options) -> RecordFilter:
    """Return the filter that the options describe. Raises CommandError."""
    tenant = tenant_filter(options["tenant"])
    start, end = _period_with_hours(options)
    return RecordFilter(
        tenant_ids=None if tenant is None else [tenant.id],
        key_id=key_by_prefix(options["key"]).id if options["key"] else None,
        model=options["model"],
        endpoint=options["endpoint"],
        outcome=options["outcome"],
        error_code=options["code"],
        request_id=options["request"],
        correlation_id=options["correlation_id"],
        since=start,
        until=end,
    )


def _period_with_hours(options: Options) -> tuple[dt.datetime | None, dt.datetime | None]:
    start, end = period(options)
    return max(filter(None, (start, since(options["hours"]))), default=None), end
