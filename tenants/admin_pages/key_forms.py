"""Forms of the API key pages, and the filter of their list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from typing_extensions import override
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget

from backoffice.admin_base import PageForm
from backoffice.form_fields import LinesField
from tenants.admin_pages.limit_forms import LimitFields
from tenants.choices import Scope
from tenants.keys import services as key_services
from tenants.keys.selectors import KeyState, key_state_condition
from tenants.limits.changes import LIMIT_FIELDS
from tenants.limits.texts import KEY_HELP
from tenants.models import ApiKey

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
    (key_services.MAX_GRACE_S, _("90 days")),
)
SETTINGS = ("name", "scopes", "expires_at", "allowed_networks", *LIMIT_FIELDS)
HOLDERS = ("user", "service_account")


class KeyForm(LimitFields, PageForm[ApiKey]):
    """A key's holder, scopes, expiry and limits."""

    limit_help = KEY_HELP
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        choices=Scope.choices,
        initial=key_services.DEFAULT_SCOPES,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    allowed_networks = LinesField(label=_("Allowed networks"))

    class Meta:
        model = ApiKey
        fields = ("tenant", *HOLDERS, *SETTINGS)
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
    """Filter for the state of keys: valid, expired, revoked or disabled."""

    title = _("state")
    parameter_name = "state"

    @override
    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, StrOrPromise]]:
        return list(KeyState.choices)

    @override
    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        """Return the keys in the selected state. Raises IncorrectLookupParameters for an unknown one."""
        state = self.value()
        if state is None:
            return queryset
        if state not in KeyState.values:
            raise IncorrectLookupParameters
        return queryset.filter(key_state_condition(KeyState(state), timezone.now()))
