"""Usage, audit and refusals."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.db.models import Model
from rest_framework.request import Request
from rest_framework.response import Response

from api.admin_api.access import OPERATE, READ
from api.admin_api.base import AdminView, answer
from api.admin_api.document import operation
from api.admin_api.paging import page
from api.admin_api.schemas import records as schemas
from api.admin_api.schemas.base import Answer
from api.openai.errors.parameters import InvalidValue
from tenants.audit_trail.selectors import admin_changes_with_tenant
from tenants.models import AdminAudit, AuditRecord, Tenant, UsageRecord
from tenants.usage.filters import RecordFilter, audit_list, refusal_list, usage_list
from tenants.usage.models import RefusalCount
from tenants.usage.period_bounds import end_instant, first_instant
from tenants.usage.zones import time_zone

Item = TypeVar("Item", bound=Answer)


class RecordsView(AdminView):
    """The base of the views of records: of one tenant, or of all for operators."""

    access = {}

    @property
    def tenant_ids(self) -> list[uuid.UUID] | None:
        """The id of the tenant in the address, None for all tenants."""
        tenant: Tenant | None = getattr(self, "tenant", None)
        return None if tenant is None else [tenant.pk]

    def record_filter(self, query: schemas.PeriodQuery) -> RecordFilter:
        """Return the filter of a query's parameters. Raises InvalidValue for a faulty period."""
        since, until = period_of(query)
        names = {field.name for field in fields(RecordFilter)} & type(query).model_fields.keys()
        values: dict[str, Any] = {name: getattr(query, name) for name in names - {"since", "until"}}
        return RecordFilter(tenant_ids=self.tenant_ids, since=since, until=until, **values)


def period_of(
    query: schemas.PeriodQuery | schemas.UsageQuery,
) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Return the bounds of a period in UTC; the end is excluded. Raises InvalidValue."""
    zone = zone_of(query)
    since = None if query.since is None else _instant("since", first_instant, query.since, zone)
    until = None if query.until is None else _instant("until", end_instant, query.until, zone)
    if since is not None and until is not None and until <= since:
        raise InvalidValue(param="until", reason="it is not after since")
    return since, until


def zone_of(query: schemas.PeriodQuery | schemas.UsageQuery) -> ZoneInfo:
    """Return the time zone of a query. Raises InvalidValue."""
    try:
        return time_zone(query.tz)
    except ValidationError as error:
        raise InvalidValue(param="tz", reason=error.messages[0].removesuffix(".")) from None


def _instant(
    name: str, convert: Callable[[dt.date, ZoneInfo], dt.datetime], bound: dt.date, zone: ZoneInfo
) -> dt.datetime:
    try:
        return convert(bound, zone)
    except ValueError as error:
        raise InvalidValue(param=name, reason=str(error)) from None


def _item(schema: type[Item], row: Model, **values: str | None) -> Item:
    """Return an item of a list: ``values``, and the row's columns for the other fields of the schema."""
    names = {name for name, field in schema.model_fields.items() if field.is_required()} - values.keys()
    return schema.model_validate({name: getattr(row, name) for name in names} | values)


def _slug(tenant: Tenant | None) -> str | None:
    return tenant.slug if tenant else None


def _usage(record: UsageRecord) -> schemas.UsageRecord:
    key_prefix = record.key.prefix if record.key else None
    return _item(schemas.UsageRecord, record, tenant=_slug(record.tenant), key_prefix=key_prefix)


class UsageRecordsView(RecordsView):
    """Usage records of a tenant."""

    access = {"GET": READ}

    @operation("List usage records", schemas.UsageRecordList, query=schemas.UsageRecordsQuery)
    def get(self, request: Request) -> Response:
        """List usage records."""
        query = self.query(schemas.UsageRecordsQuery)
        rows = usage_list(self.record_filter(query))
        if query.key is not None:
            rows = rows.filter(key__prefix=query.key)
        return answer(schemas.UsageRecordList(**page(rows, query, ["-started_at", "-id"], _usage)))


def _audit(record: AuditRecord) -> schemas.AuditRecord:
    return _item(schemas.AuditRecord, record, tenant=_slug(record.tenant))


class AuditedRequestsView(RecordsView):
    """Audited API requests of a tenant."""

    access = {"GET": READ}

    @operation("List audited API requests", schemas.AuditRecordList, query=schemas.AuditQuery)
    def get(self, request: Request) -> Response:
        """List audited requests."""
        query = self.query(schemas.AuditQuery)
        rows = audit_list(self.record_filter(query))
        if query.key is not None:
            rows = rows.filter(key_prefix=query.key)
        return answer(schemas.AuditRecordList(**page(rows, query, ["-at", "-id"], _audit)))


def _change(change: AdminAudit) -> schemas.Change:
    return _item(schemas.Change, change, tenant=getattr(change, "tenant_slug", None))


class ChangesView(RecordsView):
    """Administrative changes of a tenant."""

    access = {"GET": READ}

    @operation("List administrative changes", schemas.ChangeList, query=schemas.ChangesQuery)
    def get(self, request: Request) -> Response:
        """List changes."""
        query = self.query(schemas.ChangesQuery)
        since, until = period_of(query)
        conditions = {
            "tenant_id__in": self.tenant_ids,
            "action": query.action,
            "actor": query.actor,
            "object_id": query.object_id,
            "request_id": query.request_id,
            "at__gte": since,
            "at__lt": until,
        }
        set_conditions = {name: value for name, value in conditions.items() if value is not None}
        rows = admin_changes_with_tenant().filter(**set_conditions)
        return answer(schemas.ChangeList(**page(rows, query, ["-id"], _change)))


def _refusal(count: RefusalCount) -> schemas.Refusal:
    return _item(schemas.Refusal, count, tenant=_slug(count.tenant))


class RefusalsView(RecordsView):
    """Counts of a tenant's refused requests."""

    access = {"GET": READ}

    @operation("List counts of refused requests", schemas.RefusalList, query=schemas.RefusalsQuery)
    def get(self, request: Request) -> Response:
        """List counts of refusals."""
        query = self.query(schemas.RefusalsQuery)
        rows = refusal_list(self.record_filter(query))
        return answer(schemas.RefusalList(**page(rows, query, ["-minute_at", "-id"], _refusal)))


class AllUsageRecordsView(UsageRecordsView):
    """Usage records of all tenants."""

    access = {"GET": OPERATE}


class AllAuditedRequestsView(AuditedRequestsView):
    """Audited API requests of all tenants, and of none."""

    access = {"GET": OPERATE}


class AllChangesView(ChangesView):
    """Administrative changes of all tenants, and of the platform."""

    access = {"GET": OPERATE}


class AllRefusalsView(RefusalsView):
    """Counts of refused requests of all tenants, and of none."""

    access = {"GET": OPERATE}
