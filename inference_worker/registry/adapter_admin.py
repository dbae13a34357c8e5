"""Admin pages of adapters: shown as they are registered, and deleted with their weights."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib import admin
from django.contrib.admin import RelatedOnlyFieldListFilter, display
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy
from typing_extensions import override

from backoffice.admin_base import AuditedAdmin, actor_of
from backoffice.display.sizes import size_text
from inference_worker.registry.adapter_services import adapter_delete
from inference_worker.registry.models import Adapter
from inference_worker.registry.tenant_names import tenant_names


@admin.register(Adapter)
class AdapterAdmin(AuditedAdmin[Adapter]):
    """Adapters. Jobs and ``manage.py adapters add`` register them; nothing of them can be changed."""

    audit_kind = "adapter"
    tenant_path = "tenant_id"
    list_display = ("model", "base", "tenant_name", "rank", "size", "job_id", "created_at")
    # Those of the adapters that the user sees.
    list_filter = (("base", RelatedOnlyFieldListFilter),)
    list_select_related = ("model", "base")
    search_fields = ("model__name", "job_id", "sha256")
    search_help_text = gettext_lazy("Name, job or digest")
    fields = ("model", "base", "tenant_name", "rank", "size", "sha256", "job_id", "created_at")
    readonly_fields = fields

    @override
    def get_list_display(self, request: HttpRequest) -> Any:
        """Return the columns. The names of the tenants are read once for all rows."""
        names = cache(tenant_names)

        @display(description=gettext_lazy("tenant"))
        def tenant(adapter: Adapter) -> str:
            return names().get(adapter.tenant_id, str(adapter.tenant_id))

        columns = super().get_list_display(request)
        return [tenant if column == "tenant_name" else column for column in columns]

    @display(description=gettext_lazy("tenant"))
    def tenant_name(self, adapter: Adapter) -> str:
        """Return the short name of the tenant."""
        return tenant_names().get(adapter.tenant_id, str(adapter.tenant_id))

    @display(description=gettext_lazy("size"), ordering="size_bytes")
    def size(self, adapter: Adapter) -> str:
        """Return the size of the archive with its unit."""
        return size_text(adapter.size_bytes)

    @override
    def has_add_permission(self, request: HttpRequest, obj: Adapter | None = None) -> bool:
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: Adapter | None = None) -> bool:
        return False

    @override
    def delete_model(self, request: HttpRequest, obj: Adapter) -> None:
        """Delete the adapter with its model and its weights."""
        adapter_delete(name=obj.model.name, actor=actor_of(request.user))

    @override
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Adapter]) -> None:
        """Delete each adapter through the service."""
        for adapter in queryset:
            self.delete_model(request, adapter)
