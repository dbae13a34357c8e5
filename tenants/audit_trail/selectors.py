"""Queries of administrative changes, and the versions of objects that follow from them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import OuterRef, Q, QuerySet, Subquery

from tenants.models import AdminAudit, Tenant

MIN_REQUEST_PREFIX = 8


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Values that administrative changes must have; None for any. ``since`` is included, ``until`` is not.

    ``actor``: with its kind, such as ``cli:root``, or without. ``action``: complete, or its kind, such as
    ``key``. ``object_text``: an object's id or a part of its name. ``request_id``: complete, or at least 8
    characters of its beginning.
    """

    tenant_id: uuid.UUID | None = None
    actor: str | None = None
    action: str | None = None
    object_text: str | None = None
    request_id: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


def admin_changes_with_tenant() -> QuerySet[AdminAudit]:
    """Return administrative changes annotated with ``tenant_slug``, None if the tenant is gone."""
    slug = Tenant.objects.filter(id=OuterRef("tenant_id")).values("slug")
    return AdminAudit.objects.annotate(tenant_slug=Subquery(slug))


def admin_changes(change_filter: ChangeFilter) -> QuerySet[AdminAudit]:
    """Return administrative changes, newest first."""
    return AdminAudit.objects.filter(_condition(change_filter)).order_by("-id")


def changes_of_requests(text: str, request_ids: Collection[str]) -> QuerySet[AdminAudit]:
    """Return the changes of the request or command that a text identifies, and of further requests, by id.

    ``text``: as in ``ChangeFilter.request_id``.
    """
    condition = _request_condition(text) | Q(request_id__in=request_ids)
    return AdminAudit.objects.filter(condition).order_by("request_id", "id")


def object_version(kind: str, object_id: str) -> str:
    """Return the version of an object whose actions begin with ``kind``, empty if it was never changed.

    Every change has a row in the trail, so the newest row names the version.
    """
    changes = AdminAudit.objects.filter(object_id=object_id, action__startswith=f"{kind}.")
    number = changes.order_by("-at", "-id").values_list("id", flat=True).first()
    return "" if number is None else str(number)


def _condition(values: ChangeFilter) -> Q:
    condition = Q()
    if values.tenant_id is not None:
        condition &= Q(tenant_id=values.tenant_id)
    if values.actor is not None:
        condition &= Q(actor=values.actor) | Q(actor__endswith=f":{values.actor}")
    if values.action is not None:
        condition &= Q(action=values.action) | Q(action__startswith=f"{values.action}.")
    if values.object_text is not None:
        condition &= Q(object_id=values.object_text) | Q(object_name__icontains=values.object_text)
    if values.request_id is not None:
        condition &= _request_condition(values.request_id)
    if values.since is not None:
        condition &= Q(at__gte=values.since)
    return condition if values.until is None else condition & Q(at__lt=values.until)


def _request_condition(text: str) -> Q:
    is_prefix = len(text) >= MIN_REQUEST_PREFIX
    return Q(request_id__startswith=text) if is_prefix else Q(request_id=text)
