"""Notices of tenants near their limits of requests, tokens and stored bytes."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Count, F, Sum
from django.urls import reverse
from django.utils.translation import gettext as _

from backoffice.display.sizes import size_text
from cyllm_site.overview.notice import Notice
from cyllm_site.overview.spending import MAX_NOTICES, NEAR
from tenants.files.models import StoredFile
from tenants.models import Tenant, UsageRecord
from tenants.quotas.amounts import with_defaults
from tenants.quotas.figures import recent_requests


@dataclass(frozen=True, slots=True)
class _Use:
    """The use of a limit; ``text`` names both."""

    tenant: Tenant
    text: str
    share: float


def limit_notices(now: dt.datetime, tenant_ids: Collection[uuid.UUID] | None) -> Iterator[Notice]:
    """Yield the tenants that are nearest to a limit, their own or the platform's default. Three queries."""
    tenants = Tenant.objects.filter(active=True)
    if tenant_ids is not None:
        tenants = tenants.filter(pk__in=tenant_ids)
    by_id = {tenant.pk: tenant for tenant in tenants}
    near = [use for use in [*_rates(by_id, now), *_storage(by_id)] if use.share >= NEAR]
    for use in sorted(near, key=lambda use: -use.share)[:MAX_NOTICES]:
        yield Notice(use.text, reverse("admin:tenants_tenant_change", args=[use.tenant.pk]), use.share >= 1)


def _rates(tenants: Mapping[uuid.UUID, Tenant], now: dt.datetime) -> Iterator[_Use]:
    """Yield the requests and tokens of the last minute, without those of running requests."""
    records = UsageRecord.objects.filter(tenant_id__in=tenants)
    sums = (
        recent_requests(records, now)
        .order_by()
        .values_list("tenant_id")
        .annotate(requests=Count("id"), tokens=Sum(F("prompt_tokens") + F("completion_tokens")))
    )
    for tenant_id, requests, tokens in sums:
        tenant = tenants[tenant_id]
        limits = with_defaults(tenant.limits(), settings.CYLLM)
        if limit := limits.requests_per_minute:
            text = _("%(tenant)s has sent %(used)s of %(limit)s requests in the last minute.")
            yield _Use(tenant, text % _values(tenant, requests, limit), requests / limit)
        if limit := limits.tokens_per_minute:
            text = _("%(tenant)s has used %(used)s of %(limit)s tokens in the last minute.")
            yield _Use(tenant, text % _values(tenant, tokens, limit), tokens / limit)


def _storage(tenants: Mapping[uuid.UUID, Tenant]) -> Iterator[_Use]:
    files = StoredFile.objects.filter(tenant_id__in=tenants)
    for tenant_id, stored_bytes in files.order_by().values_list("tenant_id").annotate(Sum("size_bytes")):
        tenant = tenants[tenant_id]
        limit = settings.CYLLM.tenant_file_bytes if tenant.stored_bytes is None else tenant.stored_bytes
        if limit:
            values = _values(tenant, size_text(stored_bytes), size_text(limit))
            text = _("%(tenant)s stores %(used)s of %(limit)s in files.") % values
            yield _Use(tenant, text, stored_bytes / limit)


def _values(tenant: Tenant, use: object, limit: object) -> dict[str, object]:
    return {"tenant": tenant.slug, "used": use, "limit": limit}
