"""Changes of tenants; each commits its audit record and then notifies the gateways."""

from __future__ import annotations

import uuid
from typing import Unpack

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from backoffice.unique_values import unique_values
from tenants.audit_trail.changes import admin_audit_record
from tenants.invalidation import tenant_publish
from tenants.limits.changes import LimitChanges, audited_limits, columns_apply
from tenants.models import Tenant


class TenantSettings(LimitChanges, total=False):
    """Settings of a tenant. None: the platform's setting."""

    active: bool
    tier: str
    stored_bytes: int | None
    audit_keep_days: int | None


class TenantChanges(TenantSettings, total=False):
    """The columns of a tenant that can be changed."""

    slug: str
    name: str


@transaction.atomic
def tenant_create(*, slug: str, name: str, actor: str, **settings: Unpack[TenantSettings]) -> Tenant:
    """Create a tenant, active by default. Raises ValidationError, such as for a taken slug."""
    tenant = Tenant(slug=slug, name=name)
    tenant_apply(tenant, settings)
    tenant.full_clean()
    with unique_values(tenant):
        tenant.save(force_insert=True)
    _tenant_audit(tenant, action="tenant.create", actor=actor, before=None)
    return tenant


@transaction.atomic
def tenant_update(*, tenant_id: uuid.UUID, actor: str, **changes: Unpack[TenantChanges]) -> Tenant:
    """Change a tenant. Deactivating it disables all its keys. Raises ValidationError, DoesNotExist."""
    tenant = Tenant.objects.select_for_update(no_key=True).get(id=tenant_id)
    before = tenant_values(tenant)
    tenant_apply(tenant, changes)
    if tenant_values(tenant) == before:
        return tenant
    tenant.full_clean()
    with unique_values(tenant):
        tenant.save()
    _tenant_audit(tenant, action="tenant.update", actor=actor, before=before)
    tenant_publish(tenant.id)
    return tenant


def _tenant_audit(tenant: Tenant, *, action: str, actor: str, before: dict[str, object] | None) -> None:
    admin_audit_record(
        actor=actor,
        action=action,
        object_id=str(tenant.id),
        object_name=tenant.slug,
        tenant_id=tenant.id,
        before=before,
        after=tenant_values(tenant),
    )


def tenant_values(tenant: Tenant) -> dict[str, object]:
    """Return the audited values of a tenant."""
    return {
        "slug": tenant.slug,
        "name": tenant.name,
        "active": tenant.active,
        "tier": str(tenant.tier),
        "stored_bytes": tenant.stored_bytes,
        "audit_keep_days": tenant.audit_keep_days,
        **audited_limits(tenant),
    }


def tenant_apply(tenant: Tenant, changes: TenantSettings) -> None:
    """Set the changed columns of an unsaved tenant. Raises ValidationError."""
    columns_apply(tenant, changes)
    if tenant.audit_keep_days == 0:
        raise ValidationError({"audit_keep_days": _("Audit records are kept for 1 day or more.")})
