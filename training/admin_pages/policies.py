"""The admin page of the tenants' training policies."""

from __future__ import annotations

from typing import Any

from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from typing_extensions import override

from backoffice.admin_base import ServiceAdmin, actor_of
from tenants.models import Tenant
from training.jobs import policies
from training.models import TrainingPolicy


class TrainingPolicyAdmin(ServiceAdmin[TrainingPolicy]):
    """Policies, set by superusers: they decide between tenants."""

    audit_kind = "training_policy"
    tenant_path = "tenant_id"
    list_display = ("tenant", "allows_preemption", "max_running_jobs")
    list_select_related = ("tenant",)
    search_fields = ("tenant__slug",)
    search_help_text = _("Short name of the tenant")
    autocomplete_fields = ("tenant",)
    fields = ("tenant", "allows_preemption", "max_running_jobs")

    @override
    def lock(self, object_id: str) -> None:
        Tenant.objects.select_for_update(no_key=True).filter(pk=object_id).first()

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: TrainingPolicy | None = None) -> tuple[str, ...]:
        """Make the tenant of an existing policy read-only."""
        return () if obj is None else ("tenant",)

    @override
    def save_model(
        self, request: HttpRequest, obj: TrainingPolicy, form: ModelForm[TrainingPolicy], change: bool
    ) -> None:
        """Save through the service."""
        policies.policy_set(
            tenant=obj.tenant,
            allows_preemption=obj.allows_preemption,
            max_running_jobs=obj.max_running_jobs,
            actor=actor_of(request.user),
        )

    @override
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser

    @override
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser
