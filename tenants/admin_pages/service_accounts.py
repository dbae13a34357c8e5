"""Admin pages of service accounts."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from typing_extensions import override

from backoffice.admin_base import ServiceAdmin, actor_of
from backoffice.list_filters import RelatedRowFilter
from tenants.members import services as member_services
from tenants.models import ServiceAccount


class ServiceAccountAdmin(ServiceAdmin[ServiceAccount]):
    """Programs of tenants that have keys of their own."""

    audit_kind = "service_account"
    tenant_path = "tenant_id"
    list_display = ("name", "tenant", "created_at")
    list_filter = (("tenant", RelatedRowFilter),)
    list_filter_submit = True
    list_select_related = ("tenant",)
    search_fields = ("name", "tenant__slug")
    search_help_text = _("Name or tenant")
    autocomplete_fields = ("tenant",)
    fields = ("tenant", "name")

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: ServiceAccount | None = None) -> tuple[str, ...]:
        """Return the tenant of an existing account."""
        return () if obj is None else ("tenant",)

    @override
    def save_model(
        self, request: HttpRequest, obj: ServiceAccount, form: ModelForm[ServiceAccount], change: bool
    ) -> None:
        """Create or rename through the services."""
        actor = actor_of(request.user)
        if change:
            member_services.service_account_rename(account_id=obj.pk, name=obj.name, actor=actor)
        else:
            obj.pk = member_services.service_account_create(tenant=obj.tenant, name=obj.name, actor=actor).pk

    @override
    def has_delete_permission(self, request: HttpRequest, obj: ServiceAccount | None = None) -> bool:
        """Apply Django's permissions; deletion revokes the account's keys."""
        return request.user.has_perm("tenants.delete_serviceaccount") and self.is_within(
            request, obj, self.writing_roles
        )

    def get_deleted_objects(
        self, objs: Iterable[ServiceAccount], request: HttpRequest
    ) -> tuple[list[Any], dict[Any, int], set[Any], list[Any]]:
        """Return the accounts, for the page that asks for confirmation. Their keys are revoked, but stay."""
        accounts = list(objs)
        permissions_needed = {
            self.opts.verbose_name for account in accounts if not self.has_delete_permission(request, account)
        }
        counts = {self.opts.verbose_name_plural: len(accounts)}
        return [str(account) for account in accounts], counts, permissions_needed, []

    def delete_model(self, request: HttpRequest, obj: ServiceAccount) -> None:
        """Revoke the keys and delete the account, unless another request has deleted it meanwhile."""
        with suppress(ServiceAccount.DoesNotExist):
            member_services.service_account_delete(account_id=obj.pk, actor=actor_of(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ServiceAccount]) -> None:
        """Delete each account through the service."""
        for account in queryset:
            self.delete_model(request, account)
