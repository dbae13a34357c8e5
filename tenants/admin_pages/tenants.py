"""Admin pages of tenants and their members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.admin import display
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from typing_extensions import override
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from backoffice.admin_base import ServiceAdmin, actor_of
from tenants import services
from tenants.models import Membership, Tenant
from tenants.selectors import KeyState, tenants_with_counts

if TYPE_CHECKING:

    class TenantWithCounts(Tenant):
        """A tenant annotated with counts of keys and members."""

        key_count: int
        member_count: int


class TenantAdmin(ServiceAdmin[Tenant]):
    """Tenants: deactivated but never deleted, because usage and audit records refer to them."""

    audit_kind = "tenant"
    list_display = ("slug", "name", "active", "valid_keys", "members", "created_at")
    list_filter = ("active",)
    search_fields = ("slug", "name")
    search_help_text = _("Short name or name")

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        """Annotate tenants with their counts."""
        return tenants_with_counts(timezone.now()).order_by("slug")

    @display(description=_("valid keys"))
    def valid_keys(self, tenant: TenantWithCounts) -> SafeString:
        """Return the number of valid keys, linked to their list."""
        page = reverse("admin:tenants_apikey_changelist")
        address = f"{page}?tenant__id__exact={tenant.pk}&state={KeyState.VALID.value}"
        return _link(address, tenant.key_count)

    @display(description=_("members"))
    def members(self, tenant: TenantWithCounts) -> SafeString:
        """Return the number of members, linked to their list."""
        page = reverse("admin:tenants_membership_changelist")
        return _link(f"{page}?tenant__id__exact={tenant.pk}", tenant.member_count)

    @override
    def get_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        """Return the form's fields; a new tenant is always active."""
        if obj is None:
            return ("slug", "name")
        return ("slug", "name", "active", "valid_keys", "members", "id", "created_at")

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        """Return the fields that the page shows but does not edit."""
        return () if obj is None else ("valid_keys", "members", "id", "created_at")

    @override
    def save_model(self, request: HttpRequest, obj: Tenant, form: ModelForm[Tenant], change: bool) -> None:
        """Create or update through the services."""
        actor = actor_of(request.user)
        if not change:
            obj.pk = services.tenant_create(slug=obj.slug, name=obj.name, actor=actor).pk
            return
        services.tenant_update(tenant_id=obj.pk, actor=actor, slug=obj.slug, name=obj.name, active=obj.active)


def _link(address: str, count: int) -> SafeString:
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', address, count)


class MembershipAdmin(ServiceAdmin[Membership]):
    """Roles of users in tenants."""

    audit_kind = "membership"
    list_display = ("user", "tenant", "role", "created_at")
    list_filter = ("role", ("tenant", AutocompleteSelectFilter))
    list_filter_submit = True
    list_select_related = ("tenant", "user")
    search_fields = ("tenant__slug", "user__username")
    search_help_text = _("Tenant or user")
    autocomplete_fields = ("tenant", "user")
    fields = ("tenant", "user", "role")

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: Membership | None = None) -> tuple[str, ...]:
        """Return the fields that cannot change after creation."""
        return () if obj is None else ("tenant", "user")

    @override
    def save_model(
        self, request: HttpRequest, obj: Membership, form: ModelForm[Membership], change: bool
    ) -> None:
        """Set the role through the service."""
        membership = services.membership_set(
            tenant=obj.tenant, user=obj.user, role=obj.role, actor=actor_of(request.user)
        )
        obj.pk = membership.pk

    @override
    def has_delete_permission(self, request: HttpRequest, obj: Membership | None = None) -> bool:
        """Apply Django's permissions: memberships can be deleted."""
        return request.user.has_perm("tenants.delete_membership")

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        """Remove the membership through the service."""
        services.membership_remove(tenant=obj.tenant, user=obj.user, actor=actor_of(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        """Remove each membership through the service."""
        for membership in queryset.select_related("tenant", "user"):
            self.delete_model(request, membership)
