"""Forms of the API key pages, and the filter of their list."""

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
from tenants.selectors import KeyState, key_state_condition

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

HOUR_S = 3600
DAY_S = 24 * HOUR_S
GRACE_PERIODS = (
    (0, _("none: the old key expires now")),
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
        help_texts = {"name": _("The person or program that uses the key.")}


class RevokeForm(forms.Form):
    """An empty form: revocation only needs confirmation."""


class RotateForm(forms.Form):
    """The grace period of the old key, in seconds."""

    grace_s = forms.TypedChoiceField(
        label=_("Grace period"),
        choices=GRACE_PERIODS,
        coerce=int,
        initial=DAY_S,
        widget=UnfoldAdminSelectWidget,
        help_text=_("The old key stays valid for this time, but not beyond its own expiry."),
    )


class StateFilter(SimpleListFilter):
    """Filter for keys that are currently valid, expired or revoked."""

    title = _("state")
    parameter_name = "state"

    @override
    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, StrOrPromise]]:
        return list(KeyState.choices)

    @override
    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        """Return the keys in the selected state, or all keys for an unknown state."""
        state = self.value()
        if state not in KeyState.values:
            return queryset
        return queryset.filter(key_state_condition(KeyState(state), timezone.now()))
