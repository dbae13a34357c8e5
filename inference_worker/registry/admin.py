"""Admin pages of served models, with their aliases and grants."""

from __future__ import annotations

import uuid
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext_lazy
from typing_extensions import override
from unfold.widgets import UnfoldAdminSelect2MultipleWidget, UnfoldAdminTextareaWidget

from backoffice.admin_base import PageForm, ServiceAdmin, actor_of
from inference_worker.registry import services
from inference_worker.registry.models import ServedModel
from inference_worker.registry.tenant_names import tenant_names


class ServedModelForm(PageForm[ServedModel]):
    """A model with its aliases, one per line, and the tenants with a grant."""

    alias_lines = forms.CharField(
        label=gettext_lazy("Aliases"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Other names for the model in requests, one per line."),
    )
    granted_to = forms.TypedMultipleChoiceField(
        label=gettext_lazy("Granted to"),
        required=False,
        coerce=uuid.UUID,
        widget=UnfoldAdminSelect2MultipleWidget,
        help_text=gettext_lazy("Tenants that may use the model if it is restricted."),
    )

    class Meta:
        model = ServedModel
        fields = ("name", "source", "max_model_len", "owned_by", "enabled", "visibility")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        granted_ids: list[uuid.UUID] = []
        if self.instance.pk:
            granted_ids = list(self.instance.grants.values_list("tenant_id", flat=True))
            aliases = self.instance.aliases.values_list("alias", flat=True)
            self.initial["granted_to"] = [str(tenant_id) for tenant_id in granted_ids]
            self.initial["alias_lines"] = "\n".join(aliases)
        # A grant to an unknown tenant is shown by id, so that saving the form does not remove it.
        names = {**{tenant_id: str(tenant_id) for tenant_id in granted_ids}, **tenant_names()}
        choices = [(str(tenant_id), name) for tenant_id, name in names.items()]
        cast("forms.TypedMultipleChoiceField", self.fields["granted_to"]).choices = choices

    def clean_alias_lines(self) -> list[str]:
        """Split the lines into aliases."""
        return str(self.cleaned_data["alias_lines"]).split()


@admin.register(ServedModel)
class ServedModelAdmin(ServiceAdmin[ServedModel]):
    """Served models."""

    form = ServedModelForm
    audit_kind = "model"
    list_display = ("name", "alias_names", "enabled", "visibility", "max_model_len", "updated_at")
    list_filter = ("enabled", "visibility")
    search_fields = ("name", "aliases__alias")
    search_help_text = gettext_lazy("Name or alias")
    fieldsets = (
        (None, {"fields": ("name", "alias_lines", "enabled", "visibility", "granted_to")}),
        (gettext_lazy("Details"), {"fields": ("max_model_len", "source", "owned_by")}),
    )

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[ServedModel]:
        """Return models with their aliases."""
        return super().get_queryset(request).prefetch_related("aliases")

    @display(description=gettext_lazy("aliases"), empty_value="-")
    def alias_names(self, model: ServedModel) -> str | None:
        """Return the aliases as one text."""
        return ", ".join(alias.alias for alias in model.aliases.all()) or None

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: ServedModel | None = None) -> tuple[str, ...]:
        """Make the name of an existing model read-only: usage records and clients refer to it."""
        return () if obj is None else ("name",)

    @override
    def save_model(
        self, request: HttpRequest, obj: ServedModel, form: ModelForm[ServedModel], change: bool
    ) -> None:
        """Register or update through the services, then set aliases and grants."""
        actor = actor_of(request.user)
        served_model = services.model_register(
            name=obj.name,
            actor=actor,
            source=obj.source,
            max_model_len=obj.max_model_len,
            owned_by=obj.owned_by,
            enabled=obj.enabled,
            visibility=obj.visibility,
        )
        obj.pk = served_model.pk
        services.alias_set(name=obj.name, aliases=form.cleaned_data["alias_lines"], actor=actor)
        services.grant_set(name=obj.name, tenant_ids=form.cleaned_data["granted_to"], actor=actor)

    @override
    def has_delete_permission(self, request: HttpRequest, obj: ServedModel | None = None) -> bool:
        """Follow Django's permissions."""
        return request.user.has_perm("registry.delete_servedmodel")

    def delete_model(self, request: HttpRequest, obj: ServedModel) -> None:
        """Remove a model through the service."""
        services.model_remove(name=obj.name, actor=actor_of(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ServedModel]) -> None:
        """Remove each model through the service."""
        for model in queryset:
            self.delete_model(request, model)
