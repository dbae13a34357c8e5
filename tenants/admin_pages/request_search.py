"""The page of one request: found by any id or a pasted key, with everything that is recorded about it."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from typing import Any

from django import forms
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminTextInputWidget

from backoffice.display.money import dollars
from backoffice.display.times import exact_time, relative_time, seconds_text
from tenants.keys.selectors import key_of_text
from tenants.models import ApiKey, AuditRecord, UsageRecord
from tenants.usage.filters import RecordFilter, audit_list, usage_list
from tenants.usage.requests import RequestReport, request_reports

LATEST = 20


class RequestSearchForm(forms.Form):
    """The search terms."""

    id = forms.CharField(
        label=gettext_lazy("Request id, its beginning, X-Request-ID, or a key"),
        max_length=300,
        widget=UnfoldAdminTextInputWidget,
    )


def search_context(text: str, tenant_ids: Collection[uuid.UUID] | None) -> dict[str, Any]:
    """Return the requests that a text identifies: one in full, or links to several."""
    key = key_of_text(text, tenant_ids=tenant_ids)
    reports = _latest_of(key, tenant_ids) if key else request_reports(text, tenant_ids=tenant_ids)
    is_single = len(reports) == 1 and key is None
    return {
        "key": key,
        "report": reports[0] if is_single else None,
        "sections": list(sections(reports[0])) if is_single else [],
        "matches": [] if is_single else [_match(report) for report in reports],
    }


def _latest_of(key: ApiKey, tenant_ids: Collection[uuid.UUID] | None) -> list[RequestReport]:
    record_filter = RecordFilter(key_id=key.id, tenant_ids=tenant_ids)
    audit = {record.request_id: record for record in audit_list(record_filter)[:LATEST]}
    usage = {record.request_id: record for record in usage_list(record_filter)[:LATEST]}
    ids = dict.fromkeys([*audit, *usage])
    return [RequestReport(name, usage.get(name), audit.get(name)) for name in ids]


def _match(report: RequestReport) -> dict[str, Any]:
    record = report.record
    return {
        "id": report.request_id,
        "url": request_url(report.request_id),
        "time": relative_time(report.at),
        "exact": exact_time(report.at),
        "endpoint": record.endpoint,
        "result": record.error_code or record.get_outcome_display(),
    }


def request_url(request_id: str) -> str:
    """Return the address of a request's page."""
    return f"{reverse('admin:tenants_auditrecord_find_request')}?id={request_id}"


def sections(report: RequestReport) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield titled lists of names and values, without empty ones."""
    yield _("Request"), _present(_request_values(report))
    yield _("Result"), _present(_result_values(report))
    if report.usage is not None:
        yield _("Tokens and cost"), _present(_token_values(report.usage))
        yield _("Times"), _present(_time_values(report.usage))
        yield _("Gateway and worker"), _present(_place_values(report.usage))


def _present(values: list[tuple[str, object]]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in values if value not in (None, "")]


def _request_values(report: RequestReport) -> list[tuple[str, object]]:
    record, audit = report.record, report.audit
    key = record.key or (audit.key_prefix if audit else "")
    return [
        (_("request id"), report.request_id),
        (_("correlation id"), record.correlation_id),
        (_("time"), f"{exact_time(report.at)} ({relative_time(report.at)})"),
        (_("tenant"), report.tenant),
        (_("API key"), key),
        (_("client address"), audit.client_ip if audit else ""),
        (_("method"), audit.method if audit else ""),
        (_("endpoint"), record.endpoint),
        (_("requested model"), audit.requested_model if audit else ""),
        (_("model"), record.model),
    ]


def _result_values(report: RequestReport) -> list[tuple[str, object]]:
    record, explanation = report.record, report.explanation
    audit: AuditRecord | None = report.audit
    return [
        (_("outcome"), record.get_outcome_display()),
        (_("HTTP status"), record.status),
        (_("error code"), record.error_code),
        (_("parameter at fault"), audit.error_param if audit else ""),
        (_("message to the client"), explanation.message if explanation else ""),
        (_("remedy"), explanation.remedy if explanation else ""),
        (_("duration"), _seconds(audit.duration_s) if audit else ""),
    ]


def _token_values(usage: UsageRecord) -> list[tuple[str, object]]:
    return [
        (_("prompt tokens"), usage.prompt_tokens),
        (_("cached tokens"), usage.cached_tokens),
        (_("completion tokens"), usage.completion_tokens),
        (_("trained tokens"), usage.trained_tokens or ""),
        (_("wasted tokens"), usage.wasted_tokens or ""),
        (_("counted by"), usage.get_meter_source_display()),
        (_("cost"), f"${dollars(usage.cost_microusd)}"),
        (_("charged"), _("yes") if usage.is_charged else _("no")),
        (_("accounting"), usage.get_state_display()),
    ]


def _time_values(usage: UsageRecord) -> list[tuple[str, object]]:
    speed = usage.tokens_per_s
    return [
        (_("queue"), _seconds(usage.queue_s)),
        (_("first token"), _seconds(usage.first_token_s)),
        (_("total"), _seconds(usage.total_s)),
        (_("first token at the engine"), _seconds(usage.engine_first_token_s)),
        (_("total at the engine"), _seconds(usage.engine_total_s)),
        (_("speed"), "" if speed is None else _("%(speed)s tokens/s") % {"speed": f"{speed:.1f}"}),
    ]


def _place_values(usage: UsageRecord) -> list[tuple[str, object]]:
    return [
        (_("gateway"), usage.gateway_id),
        (_("worker"), usage.worker_id),
        (_("attempts"), usage.attempt),
        (_("charged attempt"), usage.metered_attempt),
    ]


def _seconds(value: float | None) -> str:
    return "" if value is None else seconds_text(value)
