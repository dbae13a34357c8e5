"""Forms of API keys in the console: creation, changes, rotation."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from api.console.access import TenantRequest
from api.console.forms import ConsoleForm
from backoffice.form_fields import DollarsField, LinesField
from backoffice.versions import CHANGED_MEANWHILE
from tenants.audit_trail.selectors import object_version
from tenants.choices import ADMIN_SCOPES, Role, Scope
from tenants.keys.services import DEFAULT_SCOPES
from tenants.limits.changes import LIMIT_FIELDS
from tenants.limits.texts import KEY_HELP
from tenants.members.roles import can_grant_scopes, can_manage_service_accounts
from tenants.members.selectors import service_accounts
from tenants.models import ApiKey, ServiceAccount

if TYPE_CHECKING:
    from django.http import QueryDict

HOUR_S = 3600
DAY_S = 24 * HOUR_S
GRACE_PERIODS = (
    (HOUR_S, _("1 hour")),
    (DAY_S, _("1 day")),
    (7 * DAY_S, _("7 days")),
    (30 * DAY_S, _("30 days")),
    (0, _("none: the old key expires now")),
)
LIFETIMES = (
    (30, _("30 days")),
    (90, _("90 days")),
    (365, _("1 year")),
    (0, _("no end")),
)


def _amount_widget() -> forms.TextInput:
    return forms.TextInput(attrs={"inputmode": "decimal", "placeholder": "12.50", "autocomplete": "off"})


def _lines_widget(placeholder: str = "") -> forms.Textarea:
    return forms.Textarea(attrs={"rows": 2, "placeholder": placeholder})


def scope_choices(role: Role) -> list[tuple[str, Any]]:
    """Return the scopes that a role may give to a key, in words with their codes in the API."""
    return [
        (value, format_html('{} <code class="muted">{}</code>', label, value))
        for value, label in Scope.choices
        if value not in ADMIN_SCOPES or can_grant_scopes(role, [value])
    ]


class KeySettingsForm(ConsoleForm):
    """Name, scopes, networks and limits of a key."""

    name = forms.CharField(
        label=_("Name"), max_length=200, help_text=_("The person or program that uses the key.")
    )
    scopes = forms.MultipleChoiceField(label=_("Scopes"), widget=forms.CheckboxSelectMultiple)
    allowed_networks = LinesField(label=_("Allowed networks"), widget=_lines_widget("192.0.2.0/24"))
    allowed_models = LinesField(label=_("Allowed models"), widget=_lines_widget())
    requests_per_minute = forms.IntegerField(
        label=_("Requests per minute"), required=False, min_value=0, max_value=2**31 - 1
    )
    tokens_per_minute = forms.IntegerField(
        label=_("Tokens per minute"), required=False, min_value=0, max_value=2**31 - 1
    )
    concurrent_requests = forms.IntegerField(
        label=_("Concurrent requests"), required=False, min_value=0, max_value=2**31 - 1
    )
    spend_per_day_microusd = DollarsField(label=_("Spend per day"), widget=_amount_widget())
    spend_per_month_microusd = DollarsField(label=_("Spend per month"), widget=_amount_widget())

    def __init__(self, request: TenantRequest, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, text in KEY_HELP.items():
            self.fields[name].help_text = text
        scopes = self.fields["scopes"]
        assert isinstance(scopes, forms.MultipleChoiceField)  # noqa: S101 - for the type
        scopes.choices = scope_choices(request.role)

    def settings(self) -> dict[str, Any]:
        """Return the values for the services."""
        return {name: self.cleaned_data[name] for name in ("allowed_networks", *LIMIT_FIELDS)}


class NewKeyForm(KeySettingsForm):
    """A new key: its holder and lifetime besides the settings."""

    id_prefix = "new"
    holder = forms.ChoiceField(label=_("Belongs to"), required=False)
    lifetime_days = forms.TypedChoiceField(label=_("Valid for"), choices=LIFETIMES, coerce=int, initial=90)

    def __init__(self, request: TenantRequest, *args: Any, **options: Any) -> None:
        initial = {"scopes": list(DEFAULT_SCOPES), **options.pop("initial", {})}
        super().__init__(request, *args, initial=initial, **options)
        self._accounts: dict[str, ServiceAccount] = {}
        if can_manage_service_accounts(request.role):
            self._accounts = {str(account.pk): account for account in service_accounts(tenant=request.tenant)}
        holder = self.fields["holder"]
        assert isinstance(holder, forms.ChoiceField)  # noqa: S101 - for the type
        accounts = [
            (pk, _("service account %(name)s") % {"name": a.name}) for pk, a in self._accounts.items()
        ]
        holder.choices = [("", _("me")), *accounts]

    @property
    def service_account(self) -> ServiceAccount | None:
        """The service account to which the key will belong, None for the person."""
        return self._accounts.get(self.cleaned_data["holder"])

    @property
    def expires_at(self) -> dt.datetime | None:
        """The end of the lifetime, None for a key that never expires."""
        days = int(self.cleaned_data["lifetime_days"])
        return timezone.now() + dt.timedelta(days=days) if days else None


class ChangeKeyForm(KeySettingsForm):
    """The settings of an existing key. It is not valid if the key was changed after the form was opened."""

    id_prefix = "key"
    version = forms.CharField(widget=forms.HiddenInput, required=False)

    @classmethod
    def initial_of(cls, key: ApiKey) -> dict[str, Any]:
        """Return the form's values for a key."""
        values = {name: getattr(key, name) for name in ("name", "scopes", "allowed_networks", *LIMIT_FIELDS)}
        return {**values, "version": object_version("key", str(key.pk))}

    def clean(self) -> dict[str, Any]:
        """Refuse the first submission after a change of the key. The page then has its current version."""
        if self.data.get("version", self.initial["version"]) != self.initial["version"]:
            values = cast("QueryDict", self.data).copy()
            values["version"] = self.initial["version"]
            self.data = values
            self.add_error(None, CHANGED_MEANWHILE)
        return self.cleaned_data

    def changes(self) -> dict[str, Any]:
        """Return the values for the service."""
        return {"name": self.cleaned_data["name"], "scopes": self.cleaned_data["scopes"], **self.settings()}


class RotateForm(ConsoleForm):
    """The time for which the old key stays valid."""

    id_prefix = "rotate"
    grace_s = forms.TypedChoiceField(
        label=_("The old key stays valid for"), choices=GRACE_PERIODS, coerce=int, initial=DAY_S
    )
