"""All records of one request: usage, audit, and the cause and remedy of its error."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, cast

from django.conf import settings
from django.db.models import Q
from django.utils.module_loading import import_string

from tenants.models import AuditRecord, Tenant, UsageRecord

MIN_ID_PREFIX = 8
MAX_MATCHES = 50
Explain: TypeAlias = Callable[[str, str, str], tuple[str, str] | None]


@dataclass(frozen=True, slots=True)
class ErrorExplanation:
    """The message that the client got, with ``…`` and a note for values not recorded, and the remedy."""

    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class RequestReport:
    """One request. At least one of its records exists: read requests have no usage, running ones no audit."""

    request_id: str
    usage: UsageRecord | None
    audit: AuditRecord | None

    @property
    def record(self) -> UsageRecord | AuditRecord:
        """The record whose columns usage and audit have in common."""
        record = self.audit or self.usage
        assert record is not None  # noqa: S101 - one exists
        return record

    @property
    def at(self) -> dt.datetime:
        """The time of the audit record, or else the start."""
        record = self.record
        return record.at if isinstance(record, AuditRecord) else record.started_at

    @property
    def tenant(self) -> Tenant | None:
        """The tenant, None before authentication or if it was deleted."""
        return self.record.tenant

    @property
    def explanation(self) -> ErrorExplanation | None:
        """The explanation of the error; None if there is no error or its code is unknown."""
        code = self.record.error_code
        if not code:
            return None
        param = self.audit.error_param if self.audit else ""
        model = (self.audit.requested_model if self.audit else "") or self.record.model
        texts = _explain()(code, param, model)
        return None if texts is None else ErrorExplanation(*texts)


def request_reports(text: str, *, tenant_ids: Collection[uuid.UUID] | None = None) -> list[RequestReport]:
    """Return the requests that an id identifies, newest first, at most 50.

    ``text``: a request id, at least 8 characters of its beginning, or a correlation id. ``tenant_ids``: those
    that the viewer may see.
    """
    text = text.strip()
    if not text or "\x00" in text:
        return []
    condition = Q(request_id=text) | Q(correlation_id=text)
    if len(text) >= MIN_ID_PREFIX:
        condition |= Q(request_id__startswith=text)
    if tenant_ids is not None:
        condition &= Q(tenant_id__in=tenant_ids)
    usage = UsageRecord.objects.select_related("tenant", "key").filter(condition).order_by("-started_at")
    audit = AuditRecord.objects.select_related("tenant", "key").filter(condition).order_by("-at")
    usage_by_id = {record.request_id: record for record in usage[:MAX_MATCHES]}
    audit_by_id = {record.request_id: record for record in audit[:MAX_MATCHES]}
    ids = dict.fromkeys([*audit_by_id, *usage_by_id])
    reports = [RequestReport(name, usage_by_id.get(name), audit_by_id.get(name)) for name in ids]
    return [report for report in reports if report.request_id == text] or reports[:MAX_MATCHES]


@cache
def _explain() -> Explain:
    # The catalogue belongs to the API, which this package may not import.
    return cast("Explain", import_string(settings.ERROR_EXPLANATION))
