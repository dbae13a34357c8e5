"""``manage.py audit``: audit records of API requests and administrative changes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from backoffice.command_base import (
    Handler,
    Options,
    SubcommandsCommand,
    command_actor,
    counted,
    examples,
)
from tenants.audit_trail.checks import trail_check
from tenants.audit_trail.export import DamagedTrailError
from tenants.audit_trail.models import Trail
from tenants.audit_trail.purge import audit_purge, purge_findings, purgeable_records
from tenants.audit_trail.sealing import audit_seal
from tenants.audit_trail.selectors import admin_changes
from tenants.audit_trail.verification import Finding, Head, missing_heads
from tenants.management.arguments import hours, limit_argument, newest, since
from tenants.management.audit_files import export_arguments, export_verify, export_write
from tenants.management.audit_rows import (
    Slugs,
    change_columns,
    change_row,
    finding_text,
    refusal_row,
    request_row,
    trace_row,
    verification_columns,
    verification_row,
)
from tenants.management.lookup import key_by_prefix, tenant_filter
from tenants.management.purges import purge_arguments, purge_bounds, purge_row, purge_text
from tenants.management.record_options import (
    change_arguments,
    change_filter,
    in_zone,
    record_arguments,
    record_filter,
)
from tenants.management.rows import audit_columns
from tenants.management.traces import trace_text, traces_by_id
from tenants.selectors import tenant_names
from tenants.usage.filters import RecordFilter, audit_list, refusal_list
from tenants.usage.retention import old_refusals, refusals_purge

PURGE_DESCRIPTION = (
    "Delete old records of API requests and counts of refusals. Records are deleted by whole seals, so "
    "those of the last day before TIME may stay. Administrative changes are never deleted. Each batch is "
    "audited."
)
NO_REFUSAL_COUNTS = (
    "Nothing found. The first refusals of each minute have records: audit list --outcome refused."
)
SHOW_HELP = "show all that is recorded about one request or command: cause, remedy, administrative changes"


def _head(values: dict[str, Any]) -> Head:
    tenant_id = values["tenant_id"]
    return Head(uuid.UUID(tenant_id) if tenant_id else None, int(values["number"]), str(values["chain"]))


def _lost_since(path: Path) -> list[Finding]:
    """Compare with an earlier verification. Raises CommandError."""
    try:
        earlier = {
            Trail(result["trail"]): list(map(_head, result["heads"]))
            for result in json.loads(path.read_text())
        }
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise CommandError(f"{path} is not the output of 'audit verify --json'") from None
    return [finding for trail, heads in earlier.items() for finding in missing_heads(trail, heads)]


class Command(SubcommandsCommand):
    """Show, seal, verify, export and purge the audit trail."""

    help = (
        "Show, verify, export and purge the audit trail of API requests (list) and of administrative "
        "changes (changes)."
    )

    def subcommands(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        """Declare list, show, refusals, changes, verify, export, purge and seal."""
        self._request_arguments(add)
        changes = add("changes", self._changes, "show administrative changes, newest first")
        change_arguments(changes)
        examples(changes, "--tenant acme --hours 24", "--action key --actor alice --from 2026-03-01")
        self._verify_arguments(add("verify", self._verify, "find records changed, deleted or inserted"))
        export = add("export", self._export, "write records with their seals to a file; this is audited")
        export_arguments(export)
        examples(export, "--tenant acme --from 2026-01-01 --to 2026-01-31 --output acme.jsonl")
        purge = add("purge", self._purge, "delete old records of API requests and counts of refusals")
        purge.description = PURGE_DESCRIPTION
        purge_arguments(purge)
        purge.add_argument(
            "--accept-damage", action="store_true", help="delete although records deviate from their seals"
        )
        examples(purge, "--before 2026-01-01 --tenant acme", "--before 2026-01-01 --yes")
        seal = add("seal", self._seal, "seal new records now, instead of within 30 seconds")
        examples(seal, "")

    def _request_arguments(self, add: Callable[[str, Handler, str], CommandParser]) -> None:
        listing = add("list", self._list, "show API requests, newest first; --json prints all columns")
        record_arguments(listing)
        examples(listing, "--outcome refused --hours 1", "--code model_not_found --tenant acme")
        show = add("show", self._show, SHOW_HELP)
        show.add_argument("id", help="request or command id, its first 8 characters or more, correlation id")
        examples(show, "req_3f2a9c1b", "cmd_9d0f4e7a")
        refusals = add("refusals", self._refusals, "show counts of refused requests that have no record each")
        refusals.add_argument("--tenant", metavar="SLUG")
        refusals.add_argument("--key", metavar="PREFIX", help="only this key: its prefix or all of it")
        refusals.add_argument("--code", help="only this error code")
        refusals.add_argument("--hours", type=hours, help="only the last HOURS hours", metavar="HOURS")
        limit_argument(refusals)
        examples(refusals, "--code rate_limit_exceeded --hours 1")

    def _verify_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            metavar="FILE",
            type=Path,
            help="earlier output of verify --json, kept elsewhere: all its seals must still be there",
        )
        parser.add_argument(
            "--file",
            metavar="FILE",
            type=Path,
            help="verify an export with CYLLM_SECRET_KEY alone, no database; FILE.csv is in that format",
        )
        examples(parser, "--json", "--since seals.json", "--file acme.jsonl")

    def _list(self, options: Options) -> None:
        records = newest(audit_list(record_filter(options)), options, self.stderr)
        if options["json"]:
            rows = [audit_columns(record) for record in records]
        else:
            width = self.terminal_width
            rows = [in_zone(request_row(record, width), options) for record in records]
        self.show(rows, options)

    def _show(self, options: Options) -> None:
        traces, slugs = traces_by_id(options["id"]), tenant_names()
        if options["json"]:
            self.show([trace_row(trace, slugs) for trace in traces], options)
        else:
            self.stdout.write("\n\n".join(trace_text(trace, slugs) for trace in traces))

    def _refusals(self, options: Options) -> None:
        tenant = tenant_filter(options["tenant"])
        refusal_filter = RecordFilter(
            tenant_ids=None if tenant is None else [tenant.id],
            key_id=key_by_prefix(options["key"]).id if options["key"] else None,
            error_code=options["code"],
            since=since(options["hours"]),
        )
        counts = newest(refusal_list(refusal_filter), options, self.stderr)
        self.show([refusal_row(count) for count in counts], options, nothing=NO_REFUSAL_COUNTS)

    def _export(self, options: Options) -> None:
        try:
            export = export_write(options)
        except DamagedTrailError as error:
            self._report(error.findings, tenant_names())
            raise CommandError(
                f"Nothing is exported: the audit trail deviates from its seals in "
                f"{counted(len(error.findings), 'place')}. Pass --accept-damage to export it nevertheless."
            ) from None
        self._report(export.findings, tenant_names())
        self.stderr.write(f"{counted(export.records, 'record')} exported.", style_func=str)

    def _verify_file(self, options: Options) -> None:
        result = export_verify(options["file"])
        row = {"records": result.records, "seals": result.seals, "findings": len(result.findings)}
        self.show([row], options)
        self._fail_for(result.findings, "The file", {})

    def _verify(self, options: Options) -> None:
        if options["file"] is not None:
            self._verify_file(options)
            return
        results, slugs = [trail_check(trail) for trail in Trail], tenant_names()
        findings = [finding for result in results for finding in result.findings]
        if options["since"] is not None:
            findings += _lost_since(options["since"])
        if options["json"]:
            self.show([verification_columns(result, slugs) for result in results], options)
        else:
            self.show([verification_row(result) for result in results], options)
        self._fail_for(findings, "The audit trail", slugs)

    def _fail_for(self, findings: Sequence[Finding], subject: str, slugs: Slugs) -> None:
        self._report(findings, slugs)
        if findings:
            raise CommandError(f"{subject} deviates from its seals in {counted(len(findings), 'place')}.")

    def _report(self, findings: Sequence[Finding], slugs: Slugs) -> None:
        for finding in findings:
            self.stderr.write(finding_text(finding, slugs))

    def _purge(self, options: Options) -> None:
        bounds = purge_bounds(options)
        before, tenant = bounds.before, bounds.tenant
        findings = purge_findings(before=before, tenant=tenant)
        self._report(findings, tenant_names())
        if findings and not options["accept_damage"]:
            refusal = (
                "Nothing is deleted: a purge would delete the traces of these deviations. Pass "
                "--accept-damage to delete the records nevertheless."
            )
            if options["yes"]:
                raise CommandError(refusal)
            self.stderr.write(f"With --yes: {refusal}")
        if options["yes"]:
            actor, accept_damage = command_actor(), options["accept_damage"]
            records = audit_purge(before=before, tenant=tenant, actor=actor, accept_damage=accept_damage)
            refusals = refusals_purge(before=before, tenant=tenant, actor=actor)
        else:
            records = purgeable_records(before=before, tenant=tenant)
            refusals = old_refusals(before=before, tenant=tenant).count()
        counts = {"audit_records": records, "counts_of_refusals": refusals}
        self.show_one(purge_row(counts, options), options, purge_text(counts, options))

    def _seal(self, options: Options) -> None:
        self.show([{"trail": trail.value, "records": audit_seal(trail)} for trail in Trail], options)

    def _changes(self, options: Options) -> None:
        changes = newest(admin_changes(change_filter(options)), options, self.stderr)
        if options["json"]:
            slugs = tenant_names()
            rows = [change_columns(change, slugs) for change in changes]
        else:
            width = self.terminal_width
            rows = [in_zone(change_row(change, width), options) for change in changes]
        self.show(rows, options)
