"""Audit records as the console shows them: differences, filters of requests, the state of the seals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Q, QuerySet
from django.utils.translation import gettext

from api.console.usage.period import Period
from tenants.audit_trail.differences import Difference, change_differences
from tenants.audit_trail.digests import TRAILS
from tenants.audit_trail.models import AuditSeal, Trail
from tenants.audit_trail.selectors import ChangeFilter, admin_changes
from tenants.audit_trail.vocabulary import audited_changes, phrase
from tenants.keys.secrets import key_prefix
from tenants.models import AdminAudit, AuditRecord, Tenant
from tenants.usage.filters import RecordFilter, audit_list, refusal_list
from tenants.usage.models import RefusalCount

REQUEST_FILTERS = ("id", "key", "model", "status", "code")
REFUSAL_FILTERS = ("key", "status", "code")
MAX_COUNTED = 1000
R = TypeVar("R", AuditRecord, RefusalCount)


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """An administrative change with its differing fields."""

    change: AdminAudit
    action: str
    actor_kind: str
    actor_name: str
    differences: tuple[Difference, ...]


def change_row(change: AdminAudit) -> ChangeRow:
    """Return a change as a row."""
    kind, _, name = change.actor.partition(":")
    return ChangeRow(
        change,
        phrase(change.action),
        kind if name else "",
        name or change.actor,
        change_differences(change),
    )


def filtered_changes(tenant: Tenant, text: str) -> QuerySet[AdminAudit]:
    """Return the changes, newest first, whose actor, action or object contains the text, or with this id.

    Actions are found by their code and by their words in the current language.
    """
    changes = admin_changes(ChangeFilter(tenant_id=tenant.id))
    if text:
        phrases = audited_changes().phrases
        actions = [code for code, words in phrases.items() if text.casefold() in str(words).casefold()]
        columns = Q(actor__icontains=text) | Q(action__icontains=text) | Q(action__in=actions)
        ids = Q(object_id=text) | Q(request_id=text)
        changes = changes.filter(columns | ids | Q(object_name__icontains=text))
    return changes


def filtered_requests(tenant: Tenant, query: Mapping[str, str]) -> tuple[QuerySet[AuditRecord], str]:
    """Return the matching API requests, newest first, and the fault of a parameter, "" if there is none."""
    records = audit_list(RecordFilter(tenant_ids=[tenant.id]))
    if request_id := query.get("id", "").strip():
        records = records.filter(Q(request_id=request_id) | Q(correlation_id=request_id))
    if model := query.get("model", "").strip():
        records = records.filter(Q(model=model) | Q(requested_model=model))
    return _filtered(records, query)


def filtered_refusals(
    tenant: Tenant, period: Period, query: Mapping[str, str]
) -> tuple[QuerySet[RefusalCount], str]:
    """Return the matching counts of refusals, newest first, and the fault of a parameter, or ""."""
    counts = refusal_list(RecordFilter(tenant_ids=[tenant.id], since=period.start, until=period.end))
    return _filtered(counts.select_related("key"), query)


def _filtered(records: QuerySet[R], query: Mapping[str, str]) -> tuple[QuerySet[R], str]:
    """Apply the filters of key, error code and status. Return the records and the fault of the status."""
    fault = ""
    if key_name := query.get("key", "").strip():
        prefix = key_prefix(key_name) or key_name  # requests without a key have an empty prefix
        records = records.filter(Q(key_prefix=prefix) | Q(key__name__iexact=key_name))
    if code := query.get("code", "").strip():
        records = records.filter(error_code=code)
    if status := query.get("status", "").strip():
        condition = _status_condition(status)
        if condition is None:
            values = {"value": status[:20]}
            fault = gettext("“status” is %(value)s. Use a number such as 429, or 4xx, 5xx.") % values
        else:
            records = records.filter(condition)
    return records, fault


def _status_condition(text: str) -> Q | None:
    if len(text) == 3 and text[0] in "12345" and text[1:].lower() == "xx":
        return Q(status__gte=int(text[0]) * 100, status__lt=int(text[0]) * 100 + 100)
    return Q(status=int(text)) if len(text) == 3 and text.isdecimal() and text.isascii() else None


@dataclass(frozen=True, slots=True)
class SealState:
    """The last seal of one trail. ``unsealed_records``: newer records, up to ``MAX_COUNTED``."""

    trail: Trail
    seals: int
    newest_at: dt.datetime | None
    unsealed_records: int


def seal_states(tenant: Tenant) -> list[SealState]:
    """Return the state of both trails. Two queries each."""
    return [_seal_state(tenant, trail) for trail in Trail]


def _seal_state(tenant: Tenant, trail: Trail) -> SealState:
    last = AuditSeal.objects.filter(trail=trail, tenant_id=tenant.id).order_by("-number").first()
    newer = TRAILS[trail]._default_manager.filter(tenant_id=tenant.id, id__gt=last.last_id if last else 0)
    unsealed_records = newer.order_by("-id").values("id")[:MAX_COUNTED].count()
    return SealState(trail, last.number if last else 0, last.newest_at if last else None, unsealed_records)
