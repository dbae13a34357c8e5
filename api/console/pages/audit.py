"""Audit of a tenant: administrative changes and API requests with their seals, and repeated refusals."""

from __future__ import annotations

import datetime as dt
import io
import tempfile
from collections.abc import Sequence

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import FileResponse, HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_POST, require_safe

from api.console.access import TenantRequest, tenant_page
from api.console.rendering import page
from api.console.tenancy.audit_rows import (
    REFUSAL_FILTERS,
    REQUEST_FILTERS,
    change_row,
    filtered_changes,
    filtered_refusals,
    filtered_requests,
    seal_states,
)
from api.console.usage.period import Period, default_period, period_from
from api.openai.errors.catalogue import CATALOGUE
from backoffice.admin_base import actor_of
from tenants.audit_trail.export import DamagedTrailError, Selection, audit_export
from tenants.audit_trail.models import Trail
from tenants.audit_trail.verification import Finding, tenant_chain_findings
from tenants.choices import Role
from tenants.usage.filters import RecordFilter, refusal_list
from tenants.usage.refusals import MAX_COUNTS, refusal_sum

PAGE_SIZE = 50
MAX_SHOWN_FAULTS = 5
CONTENT_TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


@tenant_page()
@require_safe
def change_list(request: TenantRequest) -> HttpResponse:
    """Show the administrative changes of the tenant."""
    text = request.GET.get("q", "").strip()
    rows = Paginator(filtered_changes(request.tenant, text), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "page": rows,
        "rows": [change_row(change) for change in rows],
        "text": text,
        "seals": seal_states(request.tenant),
        "tab": Trail.CHANGES,
        "month_ago": timezone.now() - dt.timedelta(days=31),
    }
    return page(request, "console/audit/changes.html", context, section="audit", title=gettext("Audit"))


@tenant_page()
@require_safe
def request_list(request: TenantRequest) -> HttpResponse:
    """Show the API requests of the tenant, refused ones included, and how many refusals were only counted."""
    records, fault = filtered_requests(request.tenant, request.GET.dict())
    rows = Paginator(records, PAGE_SIZE).get_page(request.GET.get("page"))
    day = RecordFilter(tenant_ids=[request.tenant.id], since=timezone.now() - dt.timedelta(days=1))
    context = {
        "page": rows,
        "rows": [(record, _remedy(record.error_code)) for record in rows],
        "filters": {name: request.GET.get(name, "") for name in REQUEST_FILTERS},
        "is_filtered": any(request.GET.get(name) for name in REQUEST_FILTERS),
        "fault": fault,
        "refusal_sum": refusal_sum(refusal_list(day)),
        "seals": seal_states(request.tenant),
        "tab": Trail.REQUESTS,
        "month_ago": timezone.now() - dt.timedelta(days=31),
    }
    status = 400 if fault else 200
    title = gettext("Audit")
    return page(request, "console/audit/requests.html", context, section="audit", title=title, status=status)


@tenant_page()
@require_safe
def refusal_counts(request: TenantRequest) -> HttpResponse:
    """Show the refusals of a period that are counted by minute instead of being recorded individually."""
    period, period_fault = _period(request)
    counts, filter_fault = filtered_refusals(request.tenant, period, request.GET.dict())
    fault = f"{period_fault} {filter_fault}".strip()
    rows = Paginator(counts[:MAX_COUNTS], PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "period": period,
        "page": rows,
        "rows": [(count, _remedy(count.error_code)) for count in rows],
        "refusal_sum": refusal_sum(counts),
        "filters": {name: request.GET.get(name, "") for name in REFUSAL_FILTERS},
        "is_filtered": any(request.GET.get(name) for name in REFUSAL_FILTERS),
        "fault": fault,
        "tab": "refusals",
    }
    status = 400 if fault else 200
    title = gettext("Audit")
    return page(request, "console/audit/refusals.html", context, section="audit", title=title, status=status)


def _period(request: TenantRequest) -> tuple[Period, str]:
    """Return the period in the query and "". With a faulty parameter, the default period and the fault."""
    now = timezone.now()
    try:
        return period_from(request.GET, request.COOKIES, now), ""
    except ValidationError as error:
        return default_period(request.COOKIES, now), " ".join(error.messages)


def _remedy(code: str) -> str:
    return CATALOGUE[code].fix.replace("`", "") if code in CATALOGUE else ""


@tenant_page(changes=Role.ADMIN)
@require_POST
def verification(request: TenantRequest) -> HttpResponse:
    """Compare the records of the tenant with their seals now."""
    findings = [finding for trail in Trail for finding in tenant_chain_findings(trail, request.tenant.id)]
    if findings:
        messages.error(request, f"{_deviations(findings)} {_faults(findings)}")
    else:
        messages.success(request, gettext("All sealed records are unchanged."))
    return redirect("console:audit", request.tenant.slug)


def _deviations(findings: Sequence[Finding]) -> str:
    count = len(findings)
    return ngettext("%(count)s deviation found:", "%(count)s deviations found:", count) % {"count": count}


def _faults(findings: Sequence[Finding]) -> str:
    faults = [f"{f'{item.trail} {item.place}'.rstrip()}: {item.fault}" for item in findings]
    return f"{'; '.join(faults[:MAX_SHOWN_FAULTS])}."


@tenant_page(changes=Role.ADMIN)
@require_POST
def export(request: TenantRequest) -> HttpResponseBase:
    """Return the tenant's records of a trail since a day in UTC, as a file. The export itself is audited.

    Records that deviate from their seals are exported only with ``accept_damage``.
    """
    trail, form = request.POST.get("trail", ""), request.POST.get("format", "")
    try:
        start = dt.datetime.fromisoformat(request.POST.get("from", "")).replace(tzinfo=dt.UTC)
    except ValueError:
        return HttpResponseBadRequest(gettext("“from” is not a date. Use the form 2026-12-31."))
    if trail not in Trail.values or form not in CONTENT_TYPES:
        return HttpResponseBadRequest(gettext("Choose a trail and a format."))
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    selection = Selection(Trail(trail), request.tenant.id, start=start)
    accept_damage = request.POST.get("accept_damage") == "on"
    try:
        audit_export(selection, text, form=form, actor=actor_of(request.user), accept_damage=accept_damage)
    except DamagedTrailError as error:
        text.close()
        advice = gettext("To export them nevertheless, choose “Export despite deviations”.")
        messages.error(request, f"{_deviations(error.findings)} {_faults(error.findings)} {advice}")
        return redirect("console:audit", request.tenant.slug)
    text.flush()
    text.detach()
    file.seek(0)
    name = f"audit-{trail}-{request.tenant.slug}-since-{start.date()}.{form}"
    return FileResponse(file, as_attachment=True, filename=name, content_type=CONTENT_TYPES[form])
