"""One request or command by its id: its records, and the administrative changes that it made."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from django.core.management.base import CommandError

from backoffice.command_base import printable
from backoffice.display.times import exact_time
from tenants.audit_trail.change_texts import change_lines
from tenants.audit_trail.selectors import changes_of_requests
from tenants.management.request_texts import NAME_WIDTH, report_text
from tenants.models import AdminAudit
from tenants.usage.requests import RequestReport, request_reports


@dataclass(frozen=True, slots=True)
class Trace:
    """All that is recorded under one id. ``report`` is None without records, as for commands."""

    request_id: str
    report: RequestReport | None
    changes: Sequence[AdminAudit]


def traces_by_id(text: str) -> list[Trace]:
    """Return what an id identifies. Raises CommandError if that is nothing."""
    reports = {report.request_id: report for report in request_reports(text)}
    changes = {
        request_id: list(group)
        for request_id, group in groupby(changes_of_requests(text, reports), lambda change: change.request_id)
    }
    ids = dict.fromkeys([*reports, *changes])
    if not ids:
        raise CommandError(
            f"No request or command has the id {printable(text[:200])}. Pass the id of a request or command, "
            "at least 8 characters of its beginning, or the X-Request-ID that the client sent. A refusal "
            "that `manage.py audit refusals` counts has no record of its own."
        )
    return [Trace(request_id, reports.get(request_id), changes.get(request_id, [])) for request_id in ids]


def trace_text(trace: Trace, slugs: Mapping[uuid.UUID, str]) -> str:
    """Return a request or command as lines of ``name value``, without what is unknown."""
    return "\n".join(_lines(trace, slugs))


def _lines(trace: Trace, slugs: Mapping[uuid.UUID, str]) -> Iterator[str]:
    if trace.report is not None:
        yield report_text(trace.report)
    else:
        yield f"{'request id':<{NAME_WIDTH}}{printable(trace.request_id)}"
    for change in trace.changes:
        tenant_id = change.tenant_id
        tenant = f", tenant {slugs.get(tenant_id, tenant_id)}" if tenant_id else ""
        text = f"{change.action} {change.object_name}{tenant}, by {change.actor}"
        yield f"{'change':<{NAME_WIDTH}}{printable(text)}, {exact_time(change.at)}"
        yield from (" " * NAME_WIDTH + printable(line) for line in change_lines(change))
