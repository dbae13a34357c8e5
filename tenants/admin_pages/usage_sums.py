"""The page of usage sums: a form, charts by day, and a line for each tenant, key, model or endpoint."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from backoffice.display.links import link_html
from backoffice.display.money import dollars
from backoffice.display.times import seconds_text
from tenants.keys.selectors import key_of_text
from tenants.models import ApiKey, Tenant
from tenants.usage.sums import (
    Dimension,
    UsageGroup,
    UsagePeriod,
    UsageSum,
    period_of_group,
    usage_groups,
    usage_series,
    usage_total,
)
from tenants.usage.zones import DAY, day_start, time_zone

DEFAULT_DAYS = 7
MAX_DAYS = 366
MAX_LINES = 100
COLOUR, TICK_COLOUR = "var(--color-primary-600)", "#9ca3af"
# Unlike the theme's charts, these have a scale.
CHART_OPTIONS = json.dumps(
    {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "plugins": {"legend": {"display": False}},
        "scales": {
            "x": {"grid": {"display": False}, "ticks": {"color": TICK_COLOUR}},
            "y": {"beginAtZero": True, "ticks": {"color": TICK_COLOUR, "maxTicksLimit": 6}},
        },
    }
)
BY = (
    (Dimension.KEY.value, gettext_lazy("API key")),
    (Dimension.TENANT.value, gettext_lazy("tenant")),
    (Dimension.MODEL.value, gettext_lazy("model")),
    (Dimension.ENDPOINT.value, gettext_lazy("endpoint")),
)


if TYPE_CHECKING:
    from django.forms import TextInput
else:
    TextInput = UnfoldAdminTextInputWidget


class DayInput(TextInput):
    """The browser's own field for a date."""

    input_type = "date"


class SumsForm(forms.Form):
    """The period and what to sum by, from the query string."""

    by = forms.ChoiceField(label=gettext_lazy("By"), choices=BY, widget=UnfoldAdminSelectWidget)
    since = forms.DateField(label=gettext_lazy("From"), widget=DayInput)
    until = forms.DateField(label=gettext_lazy("To"), widget=DayInput)
    tz = forms.CharField(label=gettext_lazy("Time zone"), widget=UnfoldAdminTextInputWidget)
    tenant = forms.ModelChoiceField(
        Tenant.objects.none(),
        label=gettext_lazy("Tenant"),
        required=False,
        empty_label=gettext_lazy("all"),
        widget=UnfoldAdminSelectWidget,
    )
    key = forms.CharField(label=gettext_lazy("API key"), required=False, widget=UnfoldAdminTextInputWidget)
    model = forms.CharField(label=gettext_lazy("Model"), required=False, widget=UnfoldAdminTextInputWidget)

    def __init__(self, query: Any, tenant_ids: Collection[uuid.UUID] | None) -> None:
        today = timezone.now().date()
        defaults = {
            "by": Dimension.KEY.value,
            "since": (today - (DEFAULT_DAYS - 1) * DAY).isoformat(),
            "until": today.isoformat(),
            "tz": "UTC",
        }
        super().__init__(defaults | {name: value for name, value in query.items() if value})
        self.tenant_ids = tenant_ids
        tenants = Tenant.objects.order_by("slug")
        rows = tenants if tenant_ids is None else tenants.filter(id__in=tenant_ids)
        self.fields["tenant"].queryset = rows  # type: ignore[attr-defined]

    def clean_tz(self) -> ZoneInfo:
        """Return the time zone."""
        return time_zone(self.cleaned_data["tz"])

    def clean_key(self) -> ApiKey | None:
        """Return the key, pasted in any form."""
        text = self.cleaned_data["key"]
        key = self._key_by_id(text) or key_of_text(text, tenant_ids=self.tenant_ids) if text else None
        if text and key is None:
            raise ValidationError(_("There is no key with this prefix."), code="unknown_key")
        return key

    def _key_by_id(self, text: str) -> ApiKey | None:
        try:
            keys = ApiKey.objects.filter(id=uuid.UUID(text))
        except ValueError:
            return None
        return (keys if self.tenant_ids is None else keys.filter(tenant_id__in=self.tenant_ids)).first()

    def clean(self) -> dict[str, Any]:
        """Check the period: its length, and that its days exist in every zone."""
        values = super().clean() or self.cleaned_data
        for name in ("since", "until"):
            if values.get(name) and not 2000 <= values[name].year <= 2200:
                self.add_error(name, forms.DateField.default_error_messages["invalid"])
        if since_until := [values[name] for name in ("since", "until") if values.get(name)]:
            days = (since_until[-1] - since_until[0]).days
            if days < 0 or days >= MAX_DAYS:
                raise ValidationError(
                    _("Choose a period of 1 to %(days)s days."), code="period", params={"days": MAX_DAYS}
                )
        return values


@dataclass(frozen=True, slots=True)
class SumsPage:
    """The sums that a valid form asks for."""

    by: Dimension
    period: UsagePeriod
    zone: ZoneInfo

    @classmethod
    def of_form(cls, form: SumsForm) -> SumsPage:
        """Return the page for a valid form."""
        values = form.cleaned_data
        zone, tenant, key = values["tz"], values["tenant"], values["key"]
        period = UsagePeriod(
            since=day_start(values["since"], zone),
            until=day_start(values["until"] + DAY, zone),
            tenant_ids=[tenant.id] if tenant else form.tenant_ids,
            key_id=key.id if key else None,
            model=values["model"] or None,
        )
        return cls(Dimension(values["by"]), period, zone)

    def context(self, can_see: Collection[str]) -> dict[str, Any]:
        """Return totals, charts and the table. ``can_see``: models whose pages the user may view."""
        total = usage_total(self.period)
        groups = usage_groups(self.period, [self.by], zone=self.zone, limit=MAX_LINES)
        series = usage_series(self.period, Dimension.DAY, zone=self.zone)
        return {
            "totals": _totals(total),
            "charts": [
                (_("Cost by day ($)"), _chart(series, _("Cost"), lambda total: total.cost_microusd / 1e6)),
                (_("Requests by day"), _chart(series, _("Requests"), lambda total: total.requests)),
            ],
            "chart_options": CHART_OPTIONS,
            "table": {"headers": _headers(self.by), "rows": self._rows(groups, can_see)},
            "is_cut": len(groups) == MAX_LINES,
        }

    def _rows(self, groups: Sequence[UsageGroup], can_see: Collection[str]) -> list[list[Any]]:
        names = _names(self.by, [group.labels[self.by] for group in groups], can_see)
        return [
            [
                names.get(group.labels[self.by]) or group.labels[self.by] or "-",
                *_measures(group.sum),
                self._records_link(group) if "usagerecord" in can_see else "",
            ]
            for group in groups
        ]

    def _records_link(self, group: UsageGroup) -> SafeString:
        period = period_of_group(self.period, group, zone=self.zone)
        assert period.since is not None and period.until is not None  # noqa: S101, PT018 - the form requires both
        query = {"started_at__gte": period.since.isoformat(), "started_at__lt": period.until.isoformat()}
        if period.key_id is not None:
            query["key__id__exact"] = str(period.key_id)
        elif period.has_no_key:
            query["key__isnull"] = "True"
        if (tenant := group.labels.get(Dimension.TENANT)) is not None:
            query["tenant__id__exact"] = str(tenant)
        if period.model is not None:
            query["model__exact"] = period.model
        if period.endpoint is not None:
            query["endpoint__exact"] = period.endpoint
        url = reverse("admin:tenants_usagerecord_changelist")
        return link_html(f"{url}?{urlencode(query)}", _("records"))


def _headers(by: Dimension) -> list[str]:
    return [
        str(dict(BY)[by.value]),
        *(_("requests"), _("failed"), _("prompt tokens"), _("completion tokens"), _("trained tokens")),
        *(_("cost"), _("first token"), ""),
    ]


def _measures(total: UsageSum) -> list[str]:
    prompt = _number(total.prompt_tokens)
    if total.cached_tokens:
        prompt = _("%(tokens)s, %(cached)s cached") % {
            "tokens": prompt,
            "cached": _number(total.cached_tokens),
        }
    first_token_s = total.mean_first_token_s
    return [
        *(_number(total.requests), _number(total.failures), prompt),
        *(_number(total.completion_tokens), _number(total.trained_tokens)),
        *(f"${dollars(total.cost_microusd)}", "-" if first_token_s is None else seconds_text(first_token_s)),
    ]


def _totals(total: UsageSum) -> list[tuple[str, str]]:
    return [
        (_("Requests"), _number(total.requests)),
        (_("Failed"), _number(total.failures)),
        (_("Tokens"), _number(total.tokens)),
        (_("Cost"), f"${dollars(total.cost_microusd)}"),
    ]


def _number(value: int) -> str:
    return number_format(value, use_l10n=True, force_grouping=True)


def _chart(series: Sequence[tuple[dt.date | dt.datetime, UsageSum]], label: str, measure: Any) -> str:
    return json.dumps(
        {
            "labels": [day.isoformat() for day, _total in series],
            "datasets": [
                {
                    "label": label,
                    "data": [measure(total) for _day, total in series],
                    "backgroundColor": COLOUR,
                }
            ],
        }
    )


def _names(by: Dimension, ids: Sequence[Any], can_see: Collection[str]) -> dict[Any, Any]:
    """Return the names of tenants or keys by id, as links to their pages if the user may view them."""
    row_ids = [name for name in ids if isinstance(name, uuid.UUID)]
    if by is Dimension.TENANT:
        rows = {tenant.id: tenant.slug for tenant in Tenant.objects.filter(id__in=row_ids)}
        page = "tenant"
    elif by is Dimension.KEY:
        rows = {key.id: f"{key.prefix} ({key.name})" for key in ApiKey.objects.filter(id__in=row_ids)}
        page = "apikey"
    else:
        return {}
    if page not in can_see:
        return dict(rows)
    view = f"admin:tenants_{page}_change"
    return {name: link_html(reverse(view, args=[name]), text) for name, text in rows.items()}
