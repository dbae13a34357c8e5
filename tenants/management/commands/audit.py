"""``manage.py audit``: API requests, and changes made by administrators."""

from __future__ import annotations

import json
from collections.abc import Callable

from django.core.management.base import CommandParser

from backoffice.command_base import Handler, Options, SubcommandsCommand
from tenants import selectors
from tenants.choices import RecordOutcome
from tenants.management.amounts import hours, limit_argument, newest
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


def _change(change: AdminAudit) -> dict[str, object]:
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

    help = "Show the audit trail: API requests, or with `changes` what administrators changed."

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list and changes."""
        listing = add("list", self._list, "show API requests, newest first")
        listing.add_argument("--outcome", choices=RecordOutcome.values)
        listing.add_argument("--correlation-id", metavar="ID")
        changes = add("changes", self._changes, "show administrative changes, newest first")
        for parser in (listing, changes):
            parser.add_argument("--tenant", metavar="SLUG")
            parser.add_argument("--hours", type=hours, help="only the last so many hours")
            limit_argument(parser)

    def _list(self, options: Options) -> None:
        found = selectors.audit_records(
            tenant=tenant_filter(options["tenant"]),
            outcome=options["outcome"],
            correlation_id=options["correlation_id"],
            since=since(options["hours"]),
        )
        self.show([_row(record) for record in newest(found, options, self.stderr)], options)

    def _changes(self, options: Options) -> None:
        found = selectors.admin_changes(
            tenant=tenant_filter(options["tenant"]), since=since(options["hours"])
        )
        rows = [_change(change) for change in newest(found, options, self.stderr)]
        if not options["json"]:
            rows = [
                row | {name: json.dumps(row[name], ensure_ascii=False) for name in ("before", "after")}
                for row in rows
            ]
        self.show(rows, options)
