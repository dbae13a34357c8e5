"""Admin pages of API keys: a secret is in the one answer that follows its making, and nowhere else."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import display
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from typing_extensions import override
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminIntegerFieldWidget

from inference_worker.admin_base import PageForm, ServiceAdmin, actor_of, page_action
from tenants import services
from tenants.choices import Scope
from tenants.models import ApiKey
from tenants.selectors import key_state


class KeyForm(PageForm[ApiKey]):
    """A key's name, scopes and expiry."""

    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("Scopes"),
        choices=Scope.choices,
        initial=services.DEFAULT_SCOPES,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    class Meta:
        model = ApiKey
        fields = ("tenant", "name", "scopes", "expires_at")


class RevokeForm(forms.Form):
    """Asks for nothing but the confirmation."""


class RotateForm(forms.Form):
    """How long the old key stays valid."""

    grace_s = forms.IntegerField(
        label=gettext_lazy("Grace time in seconds"),
        min_value=0,
        max_value=services.MAX_GRACE_S,
        initial=24 * 3600,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=gettext_lazy("Until then the old key stays valid beside the new one."),
    )


class KeyAdmin(ServiceAdmin[ApiKey]):
    """API keys: made, renamed, revoked, rotated; never deleted, because usage and audit refer to them."""

    form = KeyForm
    list_display = ("prefix", "name", "tenant", "state", "expires_at", "last_used_at")
    list_filter = ("tenant",)
    list_select_related = ("tenant",)
    search_fields = ("prefix", "name", "tenant__slug")
    actions_detail = ("rotate", "revoke")

    @display(description=gettext_lazy("state"))
    def state(self, key: ApiKey) -> str:
        """Valid, expired or revoked, now."""
        return str(key_state(key, timezone.now()).label)

    @override
    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        """What is asked for, and for an existing key what is known beside."""
        asked = ("tenant", "name", "scopes", "expires_at")
        if obj is None:
            return asked
        return (*asked, "prefix", "state", "created_at", "created_by", "last_used_at", "replaces")

    @override
    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        """A key stays with its tenant."""
        known = ("prefix", "state", "created_at", "created_by", "last_used_at", "replaces")
        return () if obj is None else ("tenant", *known)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A revoked key stays as it is."""
        if isinstance(obj, ApiKey) and obj.revoked_at is not None:
            return False
        return super().has_change_permission(request, obj)

    @override
    def save_model(self, request: HttpRequest, obj: ApiKey, form: ModelForm[ApiKey], change: bool) -> None:
        """Create or update through the services."""
        if change:
            services.key_update(
                key_id=obj.pk,
                actor=actor_of(request.user),
                name=obj.name,
                scopes=obj.scopes,
                expires_at=obj.expires_at,
            )
            return
        key, secret = services.key_create(
            tenant=obj.tenant,
            name=obj.name,
            scopes=obj.scopes,
            expires_at=obj.expires_at,
            created_by=request.user if request.user.is_authenticated else None,
            actor=actor_of(request.user),
        )
        obj.pk, obj.prefix = key.pk, key.prefix
        # Read by response_add of this same request and gone with it.
        self._secrets(request)[key.pk] = secret

    @staticmethod
    def _secrets(request: HttpRequest) -> dict[uuid.UUID, str]:
        held: dict[uuid.UUID, str] = request.__dict__.setdefault("_new_key_secrets", {})
        return held

    @override
    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The page with the secret, as the answer to the form itself."""
        return self._secret_page(request, obj, self._secrets(request).pop(obj.pk))

    @page_action("rotate", gettext_lazy("Rotate"), icon="sync")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the grace time, then show the successor's secret."""
        key = self._key(request, object_id)
        form = RotateForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._confirm_page(request, key, form, _("Rotate this key"))
        created_by = request.user if request.user.is_authenticated else None
        try:
            new, secret = services.key_rotate(
                key_id=key.pk,
                grace_s=form.cleaned_data["grace_s"],
                created_by=created_by,
                actor=actor_of(request.user),
            )
        except ValidationError as error:
            return self.refused(request, error)
        return self._secret_page(request, new, secret)

    @page_action("revoke", gettext_lazy("Revoke"), icon="block")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask once, then end the key."""
        key = self._key(request, object_id)
        form = RevokeForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._confirm_page(request, key, form, _("Revoke this key at once"))
        services.key_revoke(key_id=key.pk, actor=actor_of(request.user))
        messages.success(request, _("Key %(prefix)s is revoked.") % {"prefix": key.prefix})
        return HttpResponseRedirect(reverse("admin:tenants_apikey_changelist"))

    def _key(self, request: HttpRequest, object_id: str) -> ApiKey:
        key = self.get_object(request, object_id)
        if key is None:
            raise Http404
        if not self.has_change_permission(request, key):
            raise PermissionDenied
        return key

    def _confirm_page(self, request: HttpRequest, key: ApiKey, form: forms.Form, title: str) -> HttpResponse:
        return self._page(request, "confirm", {"title": title, "key": key, "form": form})

    def _secret_page(self, request: HttpRequest, key: ApiKey, secret: str) -> HttpResponse:
        # Admin pages are sent with "no-store", so that no cache keeps this one either.
        return self._page(request, "secret", {"title": _("New API key"), "key": key, "secret": secret})

    def _page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
        shared = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, f"admin/tenants/apikey/{name}.html", shared | context)
