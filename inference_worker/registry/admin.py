"""Admin pages of served models, with their aliases and grants."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin import EmptyFieldListFilter, display
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext_lazy, ngettext
from typing_extensions import override
from unfold.widgets import (
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanWidget,
)

from backoffice.admin_base import PageForm, ServiceAdmin, actor_of
from backoffice.display.money import dollars
from backoffice.form_fields import DollarsField
from inference_worker.registry import services
from inference_worker.registry.adapter_admin import AdapterAdmin as AdapterAdmin
from inference_worker.registry.adapter_services import adapter_delete
from inference_worker.registry.models import ServedModel, Visibility
from inference_worker.registry.readiness_column import readiness_text
from inference_worker.registry.selectors import model_prices, visible_to
from inference_worker.registry.services import PRICES
from inference_worker.registry.tenant_names import tenant_names

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

BASICS = ("name", "alias_lines", "enabled", "visibility", "granted_to")
PER_MILLION = gettext_lazy("In dollars per million tokens. If empty, free.")


def _price(label: StrOrPromise, help_text: StrOrPromise) -> DollarsField:
    return DollarsField(label=label, help_text=help_text)


class ServedModelForm(PageForm[ServedModel]):
    """A model with its aliases, one per line, the tenants with a grant, and prices in dollars."""

    prompt_price = _price(gettext_lazy("Price of prompt tokens"), PER_MILLION)
    cached_price = _price(
        gettext_lazy("Price of cached tokens"),
        gettext_lazy("Of prompt tokens from the prefix cache. If empty, the price of prompt tokens."),
    )
    completion_price = _price(gettext_lazy("Price of completion tokens"), PER_MILLION)
    training_price = _price(gettext_lazy("Price of training tokens"), PER_MILLION)

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
    save_anyway = forms.BooleanField(
        label=gettext_lazy("Save anyway"), required=False, widget=forms.HiddenInput
    )

    class Meta:
        model = ServedModel
        fields = ("name", "source", "max_model_len", "owned_by", "enabled", "visibility", *PRICES)

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

    def clean(self) -> dict[str, Any]:
        """Make empty prices free. Cached tokens without their own price cost as much as prompt tokens."""
        data = super().clean() or self.cleaned_data
        free = {name: 0 for name in PRICES if name != "cached_price" and data.get(name) is None}
        warning = _grant_warning(data.get("visibility"), bool(data.get("granted_to")))
        if warning and not data.get("save_anyway"):
            self._offer_to_save_anyway()
            raise forms.ValidationError(warning, code="grants")
        return {**data, **free}

    def _offer_to_save_anyway(self) -> None:
        self.fields["save_anyway"].widget = UnfoldBooleanWidget()

    def clean_alias_lines(self) -> list[str]:
        """Split the lines into aliases."""
        return str(self.cleaned_data["alias_lines"]).split()


def _grant_warning(visibility: object, has_grants: bool) -> StrOrPromise | None:
    """Return a warning for a combination of visibility and grants that is probably unintended."""
    if visibility == Visibility.RESTRICTED and not has_grants:
        return gettext_lazy(
            "Only tenants with a grant would see this model, and no tenant has one. Choose tenants under "
            "“Granted to”, or tick “Save anyway” to hide the model from everyone."
        )
    if visibility == Visibility.PUBLIC and has_grants:
        return gettext_lazy(
            "Every tenant would see this model, so the grants restrict nothing. Make it visible to tenants "
            "with a grant only, or tick “Save anyway” to keep the grants for later."
        )
    return None


class AdapterFilter(EmptyFieldListFilter):
    """Filter for models that are adapters; a reverse relation has no name of its own to translate."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.title = gettext_lazy("adapter")


@admin.register(ServedModel)
class ServedModelAdmin(ServiceAdmin[ServedModel]):
    """Served models."""

    form = ServedModelForm
    audit_kind = "model"
    tenant_path = None  # models belong to no tenant, but staff see only those that their tenants see
    list_display = ("name", "alias_names", "readiness", "visible_to", "max_model_len", "prices", "updated_at")
    list_filter = ("enabled", "visibility", ("adapter", AdapterFilter))
    search_fields = ("name", "aliases__alias")
    search_help_text = gettext_lazy("Name or alias")
    fieldsets = (
        (None, {"fields": (*BASICS, "save_anyway")}),
        (gettext_lazy("Prices"), {"fields": PRICES}),
        (gettext_lazy("Details"), {"fields": ("max_model_len", "source", "owned_by")}),
    )

    @override
    def lock(self, object_id: str) -> None:
        services.lock_names()

    @override
    def scoped(
        self, request: HttpRequest, rows: QuerySet[ServedModel], roles: Collection[str]
    ) -> QuerySet[ServedModel]:
        """Return the models that the tenants of the user see, whatever the roles: only superusers write."""
        return rows.filter(visible_to(self.visible_tenants(request)))

    @override
    def get_queryset(self, request: HttpRequest) -> QuerySet[ServedModel]:
        """Return models with their aliases, grants and base models."""
        rows = super().get_queryset(request).select_related("adapter__base")
        return rows.prefetch_related("aliases", "grants")

    @display(description=gettext_lazy("readiness"))
    def readiness(self, model: ServedModel) -> str:
        """Return who serves the model, or why nobody does."""
        return readiness_text(model)

    @display(description=gettext_lazy("visible to"), ordering="visibility")
    def visible_to(self, model: ServedModel) -> StrOrPromise:
        """Return who may see the model: every tenant, or the number of tenants with a grant."""
        if model.visibility == Visibility.PUBLIC:
            return model.get_visibility_display()
        count = len(model.grants.all())
        if not count:
            return gettext_lazy("no tenant: none has a grant")
        return ngettext("%(count)s tenant with a grant", "%(count)s tenants with a grant", count) % {
            "count": count
        }

    @display(description=gettext_lazy("aliases"), empty_value="-")
    def alias_names(self, model: ServedModel) -> str | None:
        """Return the aliases as one text."""
        return ", ".join(alias.alias for alias in model.aliases.all()) or None

    @display(description=gettext_lazy("prices"), empty_value="-")
    def prices(self, model: ServedModel) -> str | None:
        """Return the prices per million prompt and completion tokens; an adapter has those of its base."""
        prices = model_prices(model)
        if not (prices.prompt or prices.completion):
            return None
        return f"${dollars(prices.prompt)} / ${dollars(prices.completion)}"

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: ServedModel | None = None) -> tuple[str, ...]:
        """Make the name of an existing model read-only: usage records and clients refer to it."""
        return () if obj is None else ("name", "readiness")

    @override
    def get_fieldsets(self, request: HttpRequest, obj: ServedModel | None = None) -> Any:
        """Show the readiness of an existing model."""
        first, *others = super().get_fieldsets(request, obj)
        if obj is None:
            return [first, *others]
        return [(None, {"fields": (*BASICS, "readiness", "save_anyway")}), *others]

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
            **{name: form.cleaned_data[name] for name in PRICES},
        )
        obj.pk = served_model.pk
        services.alias_set(name=obj.name, aliases=form.cleaned_data["alias_lines"], actor=actor)
        services.grant_set(name=obj.name, tenant_ids=form.cleaned_data["granted_to"], actor=actor)

    @override
    def has_delete_permission(self, request: HttpRequest, obj: ServedModel | None = None) -> bool:
        """Leave changes to superusers: models and their grants concern every tenant."""
        return request.user.is_superuser

    @override
    def has_add_permission(self, request: HttpRequest, obj: ServedModel | None = None) -> bool:
        return request.user.is_superuser

    @override
    def has_change_permission(self, request: HttpRequest, obj: ServedModel | None = None) -> bool:
        return request.user.is_superuser

    def delete_model(self, request: HttpRequest, obj: ServedModel) -> None:
        """Remove a model, an adapter with its weights, unless another request has removed it meanwhile."""
        with suppress(ServedModel.DoesNotExist):
            if not adapter_delete(name=obj.name, actor=actor_of(request.user)):
                services.model_remove(name=obj.name, actor=actor_of(request.user))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ServedModel]) -> None:
        """Remove each model through the service."""
        for model in queryset:
            self.delete_model(request, model)
