"""Usage of a tenant: limits, a chart, breakdowns, CSV, and the records behind every sum."""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from api.console.access import TenantRequest, tenant_page
from api.console.rendering import page
from api.console.usage.budget import budgets
from api.console.usage.chart import chart_data
from api.console.usage.period import Period, default_period, period_from
from api.console.usage.selection import select_records
from api.console.usage.sums import Breakdown, UsageTable, sums_period, usage_table
from backoffice.display.csv_cells import plain_cell
from tenants.usage.sums import UsageSum

PAGE_SIZE = 50
CSV_COLUMNS = {
    "requests": "requests",
    "failed": "failures",
    "prompt_tokens": "prompt_tokens",
    "cached_tokens": "cached_tokens",
    "completion_tokens": "completion_tokens",
    "trained_tokens": "trained_tokens",
    "cost_microusd": "cost_microusd",
}


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a page; ``fault`` names a bad parameter, whose default applies instead."""

    period: Period
    breakdown: Breakdown
    fault: str = ""


def read_query(request: TenantRequest) -> Query:
    """Return the period and the breakdown of an address."""
    now, faults = timezone.now(), list[str]()
    try:
        period = period_from(request.GET, request.COOKIES, now)
    except ValidationError as error:
        faults += error.messages
        period = default_period(request.COOKIES, now)
    breakdown_name = request.GET.get("by", Breakdown.MODEL.value)
    if breakdown_name not in Breakdown.values:
        values = {"value": breakdown_name[:40], "choices": ", ".join(Breakdown.values)}
        faults.append(gettext("“by” is %(value)s. Use one of %(choices)s.") % values)
    breakdown = Breakdown(breakdown_name) if breakdown_name in Breakdown.values else Breakdown.MODEL
    return Query(period, breakdown, " ".join(faults))


@tenant_page()
@require_safe
def usage_page(request: TenantRequest) -> HttpResponseBase:
    """Show the usage of a period, by day or hour and by part."""
    query, now = read_query(request), timezone.now()
    table = usage_table(request.tenant, query.period, query.breakdown)
    if request.GET.get("format") == "csv" and not query.fault:
        return _csv(query, table, request.tenant.slug)
    context = {
        "query": query,
        "period": query.period,
        "breakdowns": Breakdown.choices,
        "table": table,
        "buckets": _bucket_rows(query.period, table, now),
        "chart": chart_data(query.period, table, now),
        "budgets": budgets(request.tenant, now),
        "has_zone": "tz" in request.GET,
    }
    status = 400 if query.fault else 200
    return page(
        request, "console/usage/page.html", context, section="usage", title=gettext("Usage"), status=status
    )


def _bucket_rows(
    period: Period, table: UsageTable, now: dt.datetime
) -> list[tuple[dt.datetime, UsageSum, bool]]:
    """Return start, sums and whether it is still incomplete, of each bucket that has begun."""
    rows = zip(period.buckets(), table.by_bucket, strict=True)
    return [(start, usage, period.bucket_end(start) > now) for start, usage in rows if start <= now]


def _csv(query: Query, table: UsageTable, slug: str) -> HttpResponse:
    period = query.period
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    name = f"usage-{slug}-{period.first}-{period.last}-by-{query.breakdown}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    writer = csv.writer(response)
    writer.writerow(["start", query.breakdown.value, *CSV_COLUMNS])
    starts = period.buckets()
    for number, start in enumerate(starts):
        for part in table.parts:
            usage = part.by_bucket[number]
            if usage.requests:
                row = [getattr(usage, column) for column in CSV_COLUMNS.values()]
                writer.writerow([start.isoformat(), plain_cell(part.label), *row])
    return response


@tenant_page()
@require_safe
def usage_records(request: TenantRequest) -> HttpResponse:
    """Show the records behind a sum, and whether they add up to it."""
    query = read_query(request)
    selection = select_records(request.tenant, request.GET, sums_period(request.tenant, query.period))
    fault = f"{query.fault} {selection.fault}".strip()
    paginator = Paginator(selection.records, PAGE_SIZE)
    paginator.count = selection.record_sums.requests  # counted with the sums
    rows = paginator.get_page(request.GET.get("page"))
    context = {
        "query": query,
        "period": query.period,
        "fault": fault,
        "page": rows,
        "sums": selection.record_sums,
        "agrees": selection.agrees,
        "selection": selection.filters,
    }
    title, status = gettext("Usage records"), 400 if fault else 200
    return page(request, "console/usage/records.html", context, section="usage", title=title, status=status)
