"""Admin pages of API keys. A secret appears only in the response to the form that created it."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.admin import display
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from typing_extensions import override

from backoffice.admin_base import ServiceAdmin, actor_of, label_column, page_action
from backoffice.list_filters import RelatedRowFilter
from tenants.admin_pages.key_forms import HOLDERS, SETTINGS, KeyForm, RevokeForm, RotateForm, StateFilter
from tenants.admin_pages.limit_forms import limits_line, settings_of
from tenants.admin_pages.usage_links import UsageLinks
from tenants.choices import Scope
from tenants.keys import services as key_services
from tenants.keys.selectors import KeyState, key_state
from tenants.limits.changes import LIMIT_FIELDS
from tenants.models import ApiKey

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

READ_ONLY_FIELDS = (
    *("begins_with", "state_name", "created_at", "created_by"),
    *("last_used_at", "last_refused_at", "revoked_at", "replaces"),
)
COLOURS: dict[str, str] = {
    KeyState.VALID: "success",
    KeyState.DISABLED: "warning",
    KeyState.EXPIRED: "warning",
    KeyState.REVOKED: "danger",
}


def _signed_in_user(request: HttpRequest) -> User | None:
    return request.user if request.user.is_authenticated else None


class KeyAdmin(UsageLinks, ServiceAdmin[ApiKey]):
    """API keys: never deleted, because usage and audit records refer to them."""

    form = KeyForm
    audit_kind = "key"
    tenant_path = "tenant_id"
    list_display = (
        *("name", "begins_with", "tenant", "holder", "state", "limits"),
        *("expires_at", "last_used_at", "last_refused_at"),
    )
    list_filter = (StateFilter, ("tenant", RelatedRowFilter))
    list_filter_submit = True
    list_select_related = ("tenant", "user", "service_account")
    search_fields = ("prefix", "name", "tenant__slug")
    search_help_text = gettext_lazy("Name, prefix or tenant")
    autocomplete_fields = ("tenant", "user", "service_account")
    actions_detail = ("rotate", "revoke", "usage", "usage_records")
    usage_field = "key"

    @override
    def lock(self, object_id: str) -> None:
        with suppress(ApiKey.DoesNotExist):
            key_services.key_lock(uuid.UUID(object_id))

    @label_column(gettext_lazy("state"), COLOURS)
    def state(self, key: ApiKey) -> tuple[str, StrOrPromise]:
        """Return the current state and its label."""
        state = key_state(key, timezone.now())
        return state, state.label

    @display(description=gettext_lazy("begins with"), ordering="prefix")
    def begins_with(self, key: ApiKey) -> str:
        """Return the public part of the key."""
        return f"sk-cy-{key.prefix}-…"

    @display(description=gettext_lazy("belongs to"), empty_value="-")
    def holder(self, key: ApiKey) -> str | None:
        """Return the name of the person or the service account."""
        return key.holder_name

    @display(description=gettext_lazy("limits"))
    def limits(self, key: ApiKey) -> str:
        """Return the limits that are set."""
        return limits_line(key) or _("no limit")

    @display(description=gettext_lazy("scopes"))
    def scope_names(self, key: ApiKey) -> str:
        """Return the labels of the key's scopes."""
        return ", ".join(str(Scope(scope).label) for scope in key.scopes)

    @display(description=gettext_lazy("state"))
    def state_name(self, key: ApiKey) -> str:
        """Return the label of the current state."""
        return str(key_state(key, timezone.now()).label)

    @override
    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        """Return the form's fields and, for an existing key, its read-only fields."""
        is_editable = obj is None or self.has_change_permission(request, obj)
        scopes = "scopes" if is_editable else "scope_names"
        fields = ("tenant", *HOLDERS, "name", scopes, "expires_at")
        limits = (_("Limits"), {"fields": ("allowed_networks", *LIMIT_FIELDS)})
        details = [] if obj is None else [(_("About this key"), {"fields": READ_ONLY_FIELDS})]
        return [(None, {"fields": fields}), limits, *details]

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        """Return the fields that cannot change after creation, the tenant among them."""
        return () if obj is None else ("tenant", *HOLDERS, "scope_names", *READ_ONLY_FIELDS)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a single save button, because the secret page always follows."""
        one_button = {"show_save_and_add_another": False, "show_save_and_continue": False}
        response: HttpResponse = super().add_view(request, form_url, one_button | (extra_context or {}))
        return response

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False for a revoked key. Django passes the key, Unfold its id."""
        is_revoked = (
            obj.revoked_at is not None
            if isinstance(obj, ApiKey)
            else obj is not None and ApiKey.objects.filter(pk=obj, revoked_at__isnull=False).exists()
        )
        return not is_revoked and super().has_change_permission(request, obj)

    @override
    def save_model(self, request: HttpRequest, obj: ApiKey, form: ModelForm[ApiKey], change: bool) -> None:
        """Create or update through the services."""
        if change:
            key_services.key_update(
                key_id=obj.pk, actor=actor_of(request.user), **settings_of(form, SETTINGS)
            )
        else:
            self._create(request, obj, form)

    def _create(self, request: HttpRequest, obj: ApiKey, form: ModelForm[ApiKey]) -> None:
        key, secret = key_services.key_create(
            created_by=_signed_in_user(request),
            actor=actor_of(request.user),
            **settings_of(form, ("tenant", *HOLDERS, *SETTINGS)),
        )
        obj.pk, obj.prefix = key.pk, key.prefix
        # response_add reads it later in the same request.
        self._secrets(request)[key.pk] = secret

    @staticmethod
    def _secrets(request: HttpRequest) -> dict[uuid.UUID, str]:
        secrets: dict[uuid.UUID, str] = request.__dict__.setdefault("_new_key_secrets", {})
        return secrets

    @override
    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Return the page with the secret instead of redirecting."""
        return self._secret_page(request, obj, self._secrets(request).pop(obj.pk))

    @page_action("rotate", gettext_lazy("Rotate"), icon="sync")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the grace period, then show the successor's secret."""
        key = self._key(request, object_id)
        form = RotateForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._confirm_page(
                request,
                key,
                form,
                title=_("Rotate this key"),
                explanation=_("A new key with the same name, scopes and expiry replaces it."),
            )
        try:
            successor, secret = key_services.key_rotate(
                key_id=key.pk,
                grace_s=form.cleaned_data["grace_s"],
                created_by=_signed_in_user(request),
                actor=actor_of(request.user),
            )
        except ValidationError as error:
            return self.error_response(request, error)
        return self._secret_page(request, successor, secret)

    @page_action("revoke", gettext_lazy("Revoke"), icon="block")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation, then revoke the key."""
        key = self._key(request, object_id)
        form = RevokeForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._confirm_page(
                request,
                key,
                form,
                title=_("Revoke this key"),
                explanation=_("The API rejects this key within a second. This cannot be undone."),
                danger=True,
            )
        key_services.key_revoke(key_id=key.pk, actor=actor_of(request.user))
        messages.success(request, _("Key %(prefix)s is revoked.") % {"prefix": key.prefix})
        return HttpResponseRedirect(reverse("admin:tenants_apikey_changelist"))

    def _key(self, request: HttpRequest, object_id: str) -> ApiKey:
        key = self.get_object(request, object_id)
        if key is None:
            raise Http404
        if not self.has_change_permission(request, key):
            raise PermissionDenied
        return key

    def _confirm_page(
        self,
        request: HttpRequest,
        key: ApiKey,
        form: forms.Form,
        *,
        title: str,
        explanation: str,
        danger: bool = False,
    ) -> HttpResponse:
        texts = {"title": title, "explanation": explanation, "danger": danger}
        return self._page(request, "confirm", {"key": key, "form": form, **texts})

    def _secret_page(self, request: HttpRequest, key: ApiKey, secret: str) -> HttpResponse:
        # Admin pages are sent with "no-store", so no cache keeps the secret.
        return self._page(request, "secret", {"title": _("New API key"), "key": key, "secret": secret})

    def _page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
        site_context = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, f"admin/tenants/apikey/{name}.html", site_context | context)
