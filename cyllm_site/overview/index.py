"""The contents of the admin's index: a bounded number of queries, whatever the number of records."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from backoffice.roles import ALL_ROLES
from cyllm_site.overview.attention import notices
from cyllm_site.overview.charts import day_charts
from cyllm_site.overview.notice import Notice
from tenants.audit_trail.vocabulary import verb
from tenants.members.selectors import tenants_of_user
from tenants.models import AdminAudit, ApiKey, Tenant
from tenants.usage.sums import (
    Dimension,
    UsageGroup,
    UsagePeriod,
    UsageSum,
    quarter_start,
    usage_groups,
    usage_series,
)
from tenants.usage.zones import QUARTER

DAY = dt.timedelta(days=1)
TOP = 5
CHANGES = 8


@dataclass(frozen=True, slots=True)
class Rank:
    """A tenant or key with its usage of the last day."""

    name: str
    address: str
    sum: UsageSum


def overview(request: HttpRequest) -> dict[str, Any]:
    """Return the contents of the index, limited to the tenants and records that the person may see."""
    user, now = request.user, timezone.now()
    tenant_ids = visible_tenants(user)
    may = {name: user.has_perm(right) for name, right in RIGHTS.items()}
    usage = _usage(now, tenant_ids) if may["usage"] else {}
    rows: list[Notice] = notices(now, tenant_ids, may) if user.is_staff else []
    changes = _changes(tenant_ids) if may["changes"] else []
    return {"notices": rows, "changes": changes, "may": may, "find": _find_address(may), **usage}


RIGHTS = {
    "usage": "tenants.view_usagerecord",
    "requests": "tenants.view_auditrecord",
    "changes": "tenants.view_adminaudit",
    "models": "registry.view_servedmodel",
    "tenants": "tenants.view_tenant",
    "keys": "tenants.view_apikey",
}


def visible_tenants(user: User | AnonymousUser) -> list[uuid.UUID] | None:
    """Return the tenants in which the person has a role, None for operators: all."""
    return None if user.is_superuser else list(tenants_of_user(user.pk or 0, ALL_ROLES))


def _find_address(may: dict[str, bool]) -> str:
    try:
        return reverse("admin:tenants_auditrecord_find_request") if may["requests"] else ""
    except NoReverseMatch:
        return ""


def _usage(now: dt.datetime, tenant_ids: Collection[uuid.UUID] | None) -> dict[str, Any]:
    """Return the sums of the last day. Three queries of the roll-ups and two of names."""
    until = quarter_start(now) + QUARTER
    period = UsagePeriod(since=until - DAY, until=until, tenant_ids=tenant_ids)
    series = usage_series(period, Dimension.HOUR)
    total = sum((hour for _, hour in series), UsageSum())
    return {
        "total": total,
        "charts": day_charts(series),
        "top_tenants": _top(period, Dimension.TENANT),
        "top_keys": _top(period, Dimension.KEY),
    }


def _top(period: UsagePeriod, dimension: Dimension) -> list[Rank]:
    groups = [group for group in usage_groups(period, [dimension]) if group.labels[dimension]]
    groups.sort(key=lambda group: (-group.sum.tokens, -group.sum.requests))
    groups = groups[:TOP]
    names = _names(dimension, [group.labels[dimension] for group in groups])
    return [_rank(group, dimension, names) for group in groups]


def _names(dimension: Dimension, ids: list[Any]) -> dict[Any, str]:
    if dimension is Dimension.TENANT:
        return dict(Tenant.objects.filter(pk__in=ids).values_list("pk", "slug"))
    rows = ApiKey.objects.filter(pk__in=ids).values_list("pk", "name", "prefix", "tenant__slug")
    return {pk: f"{tenant}: {name} ({prefix}…)" for pk, name, prefix, tenant in rows}


def _rank(group: UsageGroup, dimension: Dimension, names: dict[Any, str]) -> Rank:
    label = group.labels[dimension]
    page = "tenant" if dimension is Dimension.TENANT else "apikey"
    address = reverse(f"admin:tenants_{page}_change", args=[label]) if label in names else ""
    return Rank(names.get(label, str(label)), address, group.sum)


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """A recent administrative change as a sentence: actor, verb, object, time."""

    actor: str
    verb: str
    object_name: str
    at: dt.datetime
    address: str


def _changes(tenant_ids: Collection[uuid.UUID] | None) -> list[ChangeLine]:
    rows = AdminAudit.objects.order_by("-id")
    if tenant_ids is not None:
        rows = rows.filter(tenant_id__in=tenant_ids)
    page = reverse("admin:tenants_adminaudit_changelist")
    return [
        ChangeLine(
            actor=row.actor.partition(":")[2] or row.actor,
            verb=verb(row.action),
            object_name=row.object_name,
            at=row.at,
            address=f"{page}?{urlencode(_object_filter(row))}" if row.object_id else page,
        )
        for row in rows[:CHANGES]
    ]


def _object_filter(row: AdminAudit) -> dict[str, str]:
    """Return the filter for the changes of the row's object. Ids of different kinds can be equal."""
    kind = row.action.partition(".")[0]
    return {"object_id__exact": row.object_id, "action__startswith": f"{kind}."}
