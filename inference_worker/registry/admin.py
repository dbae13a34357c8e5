"""Admin pages of served models, with their aliases and grants."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from typing_extensions import override
from unfold.widgets import UnfoldAdminTextareaWidget

from inference_worker.admin_base import PageForm, ServiceAdmin, actor_of
from inference_worker.registry import services
from inference_worker.registry.models import ServedModel


class ServedModelForm(PageForm[ServedModel]):
    """A model, its aliases and the tenants it is granted to, one a line."""

    alias_lines = forms.CharField(
        label=gettext_lazy("Aliases"),
        required=False,
        widget=UnfoldAdminTextareaWidget,
        help_text=gettext_lazy("One a line."),
    )
    grant_lines = forms.CharField(
        label=gettext_lazy("Granted to"),
        required=False,
        widget=UnfoldAdminTextareaWidget,
        help_text=gettext_lazy("Ids of tenants, one a line; they matter for restricted models."),
    )

    class Meta:
        model = ServedModel
        fields = ("name", "source", "max_model_len", "owned_by", "enabled", "visibility")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            grants = self.instance.grants.values_list("tenant_id", flat=True)
            aliases = self.instance.aliases.values_list("alias", flat=True)
            self.initial["grant_lines"] = "\n".join(map(str, grants))
            self.initial["alias_lines"] = "\n".join(aliases)

    def clean_alias_lines(self) -> list[str]:
        """The aliases."""
        return str(self.cleaned_data["alias_lines"]).split()

    def clean_grant_lines(self) -> list[uuid.UUID]:
        """The tenants' ids."""
        try:
            return [uuid.UUID(line) for line in str(self.cleaned_data["grant_lines"]).split()]
        except ValueError as error:
            raise ValidationError(_("A tenant's id is a UUID, as on the tenant's page.")) from error


@admin.register(ServedModel)
class ServedModelAdmin(ServiceAdmin[ServedModel]):
    """Served models."""

    form = ServedModelForm
    list_display = ("name", "enabled", "visibility", "max_model_len", "owned_by", "updated_at")
    list_filter = ("enabled", "visibility")
    search_fields = ("name", "aliases__alias")
    fields = (
        "name",
        "source",
        "max_model_len",
        "owned_by",
        "enabled",
        "visibility",
        "alias_lines",
        "grant_lines",
    )

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: ServedModel | None = None) -> tuple[str, ...]:
        """A model keeps its name: usage and clients refer to it."""
        return () if obj is None else ("name",)

    @override
    def save_model(
        self, request: HttpRequest, obj: ServedModel, form: ModelForm[ServedModel], change: bool
    ) -> None:
        """Register or update through the services, then set aliases and grants."""
        actor = actor_of(request.user)
        saved = services.model_register(
            name=obj.name,
            actor=actor,
            source=obj.source,
            max_model_len=obj.max_model_len,
            owned_by=obj.owned_by,
            enabled=obj.enabled,
            visibility=obj.visibility,
        )
        obj.pk = saved.pk
        services.alias_set(name=obj.name, aliases=form.cleaned_data["alias_lines"], actor=actor)
        services.grant_set(name=obj.name, tenant_ids=form.cleaned_data["grant_lines"], actor=actor)

    @override
    def has_delete_permission(self, request: HttpRequest, obj: ServedModel | None = None) -> bool:
        """As Django's permissions say."""
        return request.user.has_perm("registry.delete_servedmodel")

    def delete_model(self, request: HttpRequest, obj: ServedModel) -> None:
        """Remove through the service."""
        services.model_remove(name=obj.name, actor=actor_of(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ServedModel]) -> None:
        """Remove each through the service."""
        for model in queryset:
            self.delete_model(request, model)
