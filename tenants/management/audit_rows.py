"""Rows of requests, refusals, administrative changes and findings, for the tables and JSON of ``audit``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict

from tenants.audit_trail.change_texts import change_lines
from tenants.audit_trail.verification import Finding, Verification
from tenants.management.rows import audit_columns, id_text, usage_columns
from tenants.management.traces import Trace
from tenants.models import AdminAudit, AuditRecord
from tenants.usage.models import RefusalCount

Slugs = Mapping[uuid.UUID, str]


def request_row(record: AuditRecord, width: int | None) -> dict[str, object]:
    """Return a request for a table of this width."""
    return {
        "at": record.at,
        "tenant": record.tenant.slug if record.tenant else None,
        "key": record.key_prefix,
        "endpoint": record.endpoint,
        "model": record.model or record.requested_model,
        "status": record.status,
        "result": record.error_code or record.outcome,
        "request": id_text(record.request_id, width),
    }


def refusal_row(count: RefusalCount) -> dict[str, object]:
    """Return a count of refusals."""
    return {
        "minute": count.minute_at,
        "tenant": count.tenant.slug if count.tenant else None,
        "key": count.key_prefix,
        "network": count.client_network,
        "endpoint": count.endpoint,
        "error_code": count.error_code,
        "requests": count.requests,
    }


def change_row(change: AdminAudit, width: int | None) -> dict[str, object]:
    """Return an administrative change for a table of this width."""
    return {
        "at": change.at,
        "actor": change.actor,
        "action": change.action,
        "object": change.object_name,
        "changes": "; ".join(change_lines(change)),
        "request": id_text(change.request_id, width),
    }


def change_columns(change: AdminAudit, slugs: Slugs) -> dict[str, object]:
    """Return the columns of an administrative change, for JSON."""
    return {
        "at": change.at,
        "actor": change.actor,
        "action": change.action,
        "tenant": tenant_text(change.tenant_id, slugs),
        "object": change.object_name,
        "object_id": change.object_id,
        "request_id": change.request_id,
        "before": change.before,
        "after": change.after,
        "id": change.pk,
    }


def trace_row(trace: Trace, slugs: Slugs) -> dict[str, object]:
    """Return all that is recorded about one request or command, for JSON."""
    report = trace.report
    explanation = report.explanation if report else None
    return {
        "request_id": trace.request_id,
        "message": explanation.message if explanation else None,
        "remedy": explanation.remedy if explanation else None,
        "audit": audit_columns(report.audit) if report and report.audit else None,
        "usage": usage_columns(report.usage) if report and report.usage else None,
        "changes": [change_columns(change, slugs) for change in trace.changes],
    }


def verification_row(result: Verification) -> dict[str, object]:
    """Return the result for a trail, for a table."""
    row = asdict(result)
    del row["heads"]
    return row | {"findings": len(result.findings)}


def verification_columns(result: Verification, slugs: Slugs) -> dict[str, object]:
    """Return the result for a trail with its heads and findings, for JSON."""
    return asdict(result) | {
        name: [asdict(item) | {"tenant": tenant_text(item.tenant_id, slugs)} for item in items]
        for name, items in (("heads", result.heads), ("findings", result.findings))
    }


def finding_text(finding: Finding, slugs: Slugs) -> str:
    """Return a finding as a line, such as ``requests, tenant acme, records 3 to 9: a record was changed``."""
    tenant = tenant_text(finding.tenant_id, slugs)
    place = filter(None, [str(finding.trail), tenant and f"tenant {tenant}", finding.place])
    return f"{', '.join(place)}: {finding.fault}"


def tenant_text(tenant_id: uuid.UUID | None, slugs: Slugs) -> str | None:
    """Return a tenant's short name; the id of one that was deleted."""
    return None if tenant_id is None else slugs.get(tenant_id, str(tenant_id))
