"""``manage.py usage``: usage records of requests."""

from __future__ import annotations

from collections.abc import Callable

from django.core.management.base import CommandParser

from backoffice.command_base import Handler, Options, SubcommandsCommand
from tenants import selectors
from tenants.management.arguments import hours, limit_argument, newest
from tenants.management.lookup import since, tenant_filter
from tenants.models import UsageRecord


def _row(record: UsageRecord) -> dict[str, object]:
    return {
        "started_at": record.started_at,
        "tenant": record.tenant.slug if record.tenant else None,
        "model": record.model,
        "state": record.state,
        "outcome": record.outcome,
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "total_s": record.total_s,
        "first_token_s": record.first_token_s,
        "tokens_per_s": record.tokens_per_s,
        "request_id": record.request_id,
    }


def _all_columns(record: UsageRecord) -> dict[str, object]:
    return _row(record) | {
        "correlation_id": record.correlation_id,
        "key_prefix": record.key.prefix if record.key else None,
        "endpoint": record.endpoint,
        "streamed": record.streamed,
        "status": record.status,
        "error_code": record.error_code,
        "gateway_id": record.gateway_id,
        "worker_id": record.worker_id,
        "attempt": record.attempt,
        "metered_attempt": record.metered_attempt,
        "meter_source": record.meter_source,
        "cached_tokens": record.cached_tokens,
        "queue_s": record.queue_s,
        "engine_first_token_s": record.engine_first_token_s,
        "engine_total_s": record.engine_total_s,
        "ended_at": record.ended_at,
        "settled_at": record.settled_at,
    }


class Command(SubcommandsCommand):
    """Show usage records."""

    help = "Show the usage of requests, newest first."

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list."""
        listing = add("list", self._list, "show usage records; --json prints all columns")
        listing.add_argument("--tenant", metavar="SLUG")
        listing.add_argument("--model", help="only requests for this model")
        listing.add_argument("--request", metavar="ID", help="only this request")
        listing.add_argument("--hours", type=hours, help="only the last HOURS hours", metavar="HOURS")
        limit_argument(listing)

    def _list(self, options: Options) -> None:
        records = selectors.usage_records(
            tenant=tenant_filter(options["tenant"]),
            model=options["model"],
            request_id=options["request"],
            since=since(options["hours"]),
        )
        columns = _all_columns if options["json"] else _row
        self.show([columns(record) for record in newest(records, options, self.stderr)], options)
