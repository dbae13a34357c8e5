"""Notices of what needs an operator's attention: workers, models, errors, limits and audit trails."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterator, Mapping
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from cyllm_site.overview.limits import limit_notices
from cyllm_site.overview.notice import Notice
from cyllm_site.overview.spending import spending_notices
from cyllm_site.overview.workers import FAULTY, readiness_rows
from inference_worker.registry.readiness import Readiness
from inference_worker.registry.worker_sightings import WorkerSighting, platform_workers
from tenants.audit_trail.checks import broken_trails
from tenants.audit_trail.models import Trail
from tenants.usage.sums import Dimension, UsagePeriod, UsageSum, quarter_start, usage_groups
from tenants.usage.zones import QUARTER

HOUR = dt.timedelta(hours=1)
# Fewer errors than this in an hour are no trend.
MIN_ERRORS = 3
ERROR_SHARE = 0.05
MAX_OF_A_KIND = 5


def notices(
    now: dt.datetime, tenant_ids: Collection[uuid.UUID] | None, may: Mapping[str, bool]
) -> list[Notice]:
    """Return the notices that the person may see. At most ten queries and one call of Redis."""
    rows: list[Notice] = []
    if may["changes"] and tenant_ids is None:
        rows += _trail_notices()
    if may["models"]:
        workers = platform_workers()
        rows += [*_worker_notices(workers), *_model_notices(workers, tenant_ids)]
    if may["usage"]:
        rows += _error_notices(now, tenant_ids)
    if may["tenants"]:
        rows += [*spending_notices(now, tenant_ids), *limit_notices(now, tenant_ids)]
    return sorted(rows, key=lambda notice: not notice.is_urgent)


def _trail_notices() -> Iterator[Notice]:
    pages = {
        Trail.REQUESTS: "admin:tenants_auditrecord_changelist",
        Trail.CHANGES: "admin:tenants_adminaudit_changelist",
    }
    for check in broken_trails():
        values = {
            "trail": check.get_trail_display(),
            "n": check.finding_count,
            "first": check.first_finding,
            "date": formats.date_format(timezone.localtime(check.checked_at), "DATETIME_FORMAT"),
        }
        text = _("Deviations of “%(trail)s” from their seals: %(n)s. First: %(first)s (checked %(date)s).")
        yield Notice(text % values, reverse(pages[Trail(check.trail)]))


def _worker_notices(workers: list[WorkerSighting] | None) -> Iterator[Notice]:
    page = reverse("admin:workers")
    if workers is None:
        yield Notice(
            _("Redis is unavailable: no request can be served. Check the server at CYLLM_REDIS_URL."), page
        )
        return
    faulty = [worker for worker in workers if worker.status in FAULTY]
    for worker in faulty[:MAX_OF_A_KIND]:
        values = {"worker": worker.worker_id, "state": worker.status.label, "n": int(worker.seen_s)}
        yield Notice(_("Worker %(worker)s: %(state)s, seen %(n)s s ago.") % values, page)
    if not workers:
        yield Notice(_("No worker is running."), page)


def _model_notices(
    workers: list[WorkerSighting] | None, tenant_ids: Collection[uuid.UUID] | None
) -> Iterator[Notice]:
    if workers is None:
        return
    waiting = [
        (model, readiness)
        for model, readiness in readiness_rows(workers, tenant_ids)
        if readiness.state in (Readiness.NO_WORKER, Readiness.NOT_LOADABLE, Readiness.BASE_DISABLED)
    ]
    for model, readiness in waiting[:MAX_OF_A_KIND]:
        values = {"model": model.name, "reason": readiness.reason()}
        yield Notice(_("%(model)s is not served: %(reason)s") % values, reverse("admin:workers"), False)
    if len(waiting) > MAX_OF_A_KIND:
        surplus = len(waiting) - MAX_OF_A_KIND
        yield Notice(_("%(n)s more models are not served.") % {"n": surplus}, reverse("admin:workers"), False)


def _error_notices(now: dt.datetime, tenant_ids: Collection[uuid.UUID] | None) -> Iterator[Notice]:
    until = quarter_start(now) + QUARTER
    period = UsagePeriod(since=until - HOUR, until=until, tenant_ids=tenant_ids)
    page = reverse("admin:tenants_usagerecord_changelist")
    groups = usage_groups(period, [Dimension.MODEL])
    failing = [group for group in groups if _is_trend(group.sum)]
    for group in sorted(failing, key=lambda group: -group.sum.failures)[:MAX_OF_A_KIND]:
        name = str(group.labels[Dimension.MODEL])
        values = {"model": name, "errors": group.sum.failures, "requests": group.sum.requests}
        text = _("%(errors)s of %(requests)s requests to %(model)s failed in the last hour.") % values
        yield Notice(text, f"{page}?{urlencode({'outcome__exact': 'failed', 'model': name})}")


def _is_trend(total: UsageSum) -> bool:
    return total.failures >= MIN_ERRORS and total.failures > total.requests * ERROR_SHARE
