"""What the admin asks about API keys, and the filter of their list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from typing_extensions import override
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget

from backoffice.admin_base import PageForm
from tenants import services
from tenants.choices import Scope
from tenants.models import ApiKey
from tenants.selectors import KeyState, key_state_is

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

HOUR_S = 3600
DAY_S = 24 * HOUR_S
GRACE_TIMES = (
    (0, _("none: the old key ends now")),
    (HOUR_S, _("1 hour")),
    (DAY_S, _("1 day")),
    (7 * DAY_S, _("7 days")),
    (30 * DAY_S, _("30 days")),
    (services.MAX_GRACE_S, _("90 days")),
)


class KeyForm(PageForm[ApiKey]):
    """A key's name, scopes and expiry."""

    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        choices=Scope.choices,
        initial=services.DEFAULT_SCOPES,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    class Meta:
        model = ApiKey
        fields = ("tenant", "name", "scopes", "expires_at")
        help_texts = {"name": _("Who or what uses the key, so that one knows what stops when it ends.")}


class RevokeForm(forms.Form):
    """Asks for nothing but the confirmation."""


class RotateForm(forms.Form):
    """How long the old key stays valid, in seconds."""

    grace_s = forms.TypedChoiceField(
        label=_("Grace time"),
        choices=GRACE_TIMES,
        coerce=int,
        initial=DAY_S,
        widget=UnfoldAdminSelectWidget,
        help_text=_("So long the old key stays valid beside the new one, at most until its own expiry."),
    )


class StateFilter(SimpleListFilter):
    """Keys that are valid, expired or revoked now."""

    title = _("state")
    parameter_name = "state"

    @override
    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, StrOrPromise]]:
        """The states."""
        return list(KeyState.choices)

    @override
    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        """The keys in the state asked for; all of them for one that does not exist."""
        asked = self.value()
        if asked not in KeyState.values:
            return queryset
        return queryset.filter(key_state_is(KeyState(asked), timezone.now()))
