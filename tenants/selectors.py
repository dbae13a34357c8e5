"""Queries of tenants."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from tenants.keys.selectors import KeyState, key_state_condition
from tenants.models import ApiKey, Membership, Tenant

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    class _Counts(TypedDict):
        key_count: int
        member_count: int

    TenantWithCounts: TypeAlias = WithAnnotations[Tenant, _Counts]


def tenant_by_slug(slug: str) -> Tenant | None:
    """Return the tenant with this short name, None if it does not exist."""
    return Tenant.objects.filter(slug=slug).first()


def tenant_slugs() -> list[str]:
    """Return the short names of all tenants in alphabetical order."""
    return list(Tenant.objects.order_by("slug").values_list("slug", flat=True))


def tenant_names() -> dict[uuid.UUID, str]:
    """Return the short names of all tenants by id, in alphabetical order."""
    return dict(Tenant.objects.order_by("slug").values_list("id", "slug"))


def tenants_with_counts(now: dt.datetime) -> QuerySet[TenantWithCounts]:
    """Return tenants annotated with ``key_count``, the keys valid at ``now``, and ``member_count``."""
    valid = ApiKey.objects.filter(key_state_condition(KeyState.VALID, now), tenant=OuterRef("pk"))
    members = Membership.objects.filter(tenant=OuterRef("pk"))
    return Tenant.objects.annotate(key_count=_count_by_tenant(valid), member_count=_count_by_tenant(members))


def _count_by_tenant(rows: QuerySet[Any]) -> Coalesce:
    # A subquery, because joining two tables at once would multiply the counts.
    counts = rows.order_by().values("tenant").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counts), 0)
