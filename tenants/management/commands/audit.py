"""``manage.py audit``: audit records of API requests and administrative changes."""

from __future__ import annotations

import json
from collections.abc import Callable

from django.core.management.base import CommandParser

from backoffice.command_base import Handler, Options, SubcommandsCommand
from tenants import selectors
from tenants.choices import RecordOutcome
from tenants.management.arguments import hours, limit_argument, newest
from tenants.management.lookup import since, tenant_filter
from tenants.models import AdminAudit, AuditRecord


def _row(record: AuditRecord) -> dict[str, object]:
    return {
        "at": record.at,
        "tenant": record.tenant.slug if record.tenant else None,
        "key_prefix": record.key_prefix,
        "client_ip": record.client_ip,
        "method": record.method,
        "endpoint": record.endpoint,
        "model": record.model,
        "status": record.status,
        "outcome": record.outcome,
        "error_code": record.error_code,
        "duration_s": record.duration_s,
        "correlation_id": record.correlation_id,
        "request_id": record.request_id,
    }


def _change_row(change: AdminAudit) -> dict[str, object]:
    return {
        "at": change.at,
        "actor": change.actor,
        "action": change.action,
        "object": change.object_name,
        "before": change.before,
        "after": change.after,
    }


class Command(SubcommandsCommand):
    """Show the audit trail."""

    help = "Show the audit trail of API requests (list) or administrative changes (changes)."

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list and changes."""
        listing = add("list", self._list, "show API requests, newest first")
        listing.add_argument("--outcome", choices=RecordOutcome.values)
        listing.add_argument("--correlation-id", metavar="ID")
        changes = add("changes", self._changes, "show administrative changes, newest first")
        for parser in (listing, changes):
            parser.add_argument("--tenant", metavar="SLUG")
            parser.add_argument("--hours", type=hours, help="only the last HOURS hours", metavar="HOURS")
            limit_argument(parser)

    def _list(self, options: Options) -> None:
        records = selectors.audit_records(
            tenant=tenant_filter(options["tenant"]),
            outcome=options["outcome"],
            correlation_id=options["correlation_id"],
            since=since(options["hours"]),
        )
        self.show([_row(record) for record in newest(records, options, self.stderr)], options)

    def _changes(self, options: Options) -> None:
        changes = selectors.admin_changes(
            tenant=tenant_filter(options["tenant"]), since=since(options["hours"])
        )
        rows = [_change_row(change) for change in newest(changes, options, self.stderr)]
        if not options["json"]:
            rows = [
                row | {name: json.dumps(row[name], ensure_ascii=False) for name in ("before", "after")}
                for row in rows
            ]
        self.show(rows, options)
