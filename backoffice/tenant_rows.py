"""Queries of rows that belong to tenants: each names its tenant, or says that it reads the rows of all."""

from __future__ import annotations

import uuid
from typing import Any, Self, TypeVar

from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)


class TenantRows(QuerySet[M]):
    """Rows with a tenant, in the column ``tenant_id`` or by the lookup ``TENANT_LOOKUP`` of their model.

    Modules of the API begin each query with one of these methods. A test reads their code: a query with
    neither method nor a lookup of the tenant fails it.
    """

    def for_tenant(self, tenant: Any) -> Self:
        """Return the rows of a tenant, given as object or id."""
        tenant_id = tenant if isinstance(tenant, uuid.UUID | str) else tenant.pk
        return self.filter(**{getattr(self.model, "TENANT_LOOKUP", "tenant_id"): tenant_id})

    def across_tenants(self) -> Self:
        """Return the rows of all tenants: for operators, and for sums that name no tenant."""
        return self.all()
