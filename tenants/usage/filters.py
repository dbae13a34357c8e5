"""Filters that usage and audit records have in common."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Q, QuerySet

from tenants.models import AuditRecord, UsageRecord
from tenants.usage.models import RefusalCount

R = TypeVar("R", UsageRecord, AuditRecord, RefusalCount)


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Values that records must have; None for any. ``since`` is included, ``until`` is not.

    ``tenant_ids``: those that the viewer may see.
    """

    tenant_ids: Collection[uuid.UUID] | None = None
    key_id: uuid.UUID | None = None
    model: str | None = None
    endpoint: str | None = None
    outcome: str | None = None
    error_code: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


def usage_list(record_filter: RecordFilter) -> QuerySet[UsageRecord]:
    """Return usage records with tenant and key, newest first."""
    records = UsageRecord.objects.select_related("tenant", "key").order_by("-started_at", "-id")
    return _filtered(records, record_filter, "started_at")


def audit_list(record_filter: RecordFilter) -> QuerySet[AuditRecord]:
    """Return audit records with tenant and key, newest first."""
    return _filtered(
        AuditRecord.objects.select_related("tenant", "key").order_by("-at", "-id"), record_filter, "at"
    )


def refusal_list(record_filter: RecordFilter) -> QuerySet[RefusalCount]:
    """Return counts of refusals with their tenants, newest first."""
    counts = RefusalCount.objects.select_related("tenant").order_by("-minute_at", "-id")
    return _filtered(counts, record_filter, "minute_at")


def _filtered(records: QuerySet[R], record_filter: RecordFilter, time: str) -> QuerySet[R]:
    condition = Q()
    for name in ("key_id", "model", "endpoint", "outcome", "error_code", "request_id", "correlation_id"):
        if (value := getattr(record_filter, name)) is not None:
            condition &= Q(**{name: value})
    if record_filter.tenant_ids is not None:
        condition &= Q(tenant_id__in=record_filter.tenant_ids)
    if record_filter.since is not None:
        condition &= Q(**{f"{time}__gte": record_filter.since})
    if record_filter.until is not None:
        condition &= Q(**{f"{time}__lt": record_filter.until})
    return records.filter(condition)
