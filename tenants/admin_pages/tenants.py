"""Admin pages of tenants and their members."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from typing_extensions import override

from inference_worker.admin_base import ServiceAdmin, actor_of
from tenants import services
from tenants.models import Membership, Tenant


class TenantAdmin(ServiceAdmin[Tenant]):
    """Tenants; they are made inactive, never deleted, because usage and audit refer to them."""

    list_display = ("slug", "name", "active", "created_at")
    list_filter = ("active",)
    search_fields = ("slug", "name")
    fields = ("slug", "name", "active")

    @override
    def get_fields(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        """A new tenant is always active."""
        return ("slug", "name") if obj is None else self.fields

    @override
    def save_model(self, request: HttpRequest, obj: Tenant, form: ModelForm[Tenant], change: bool) -> None:
        """Create or update through the services."""
        actor = actor_of(request.user)
        if not change:
            obj.pk = services.tenant_create(slug=obj.slug, name=obj.name, actor=actor).pk
            return
        services.tenant_update(tenant_id=obj.pk, actor=actor, slug=obj.slug, name=obj.name, active=obj.active)


class MembershipAdmin(ServiceAdmin[Membership]):
    """Who has which role in which tenant."""

    list_display = ("tenant", "user", "role", "created_at")
    list_filter = ("role", "tenant")
    list_select_related = ("tenant", "user")
    search_fields = ("tenant__slug", "user__username")
    fields = ("tenant", "user", "role")

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> tuple[str, ...]:
        """A membership's tenant and person stay."""
        return () if obj is None else ("tenant", "user")

    @override
    def save_model(
        self, request: HttpRequest, obj: Membership, form: ModelForm[Membership], change: bool
    ) -> None:
        """Set the role through the service."""
        saved = services.membership_set(
            tenant=obj.tenant, user=obj.user, role=obj.role, actor=actor_of(request.user)
        )
        obj.pk = saved.pk

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        """As Django's permissions say."""
        return request.user.has_perm("tenants.delete_membership")

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        """End the membership through the service."""
        services.membership_remove(tenant=obj.tenant, user=obj.user, actor=actor_of(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """End each through the service."""
        for membership in queryset.select_related("tenant", "user"):
            self.delete_model(request, membership)
