"""The limits that the forms of tenants and keys share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from backoffice.form_fields import DollarsField, LinesField
from tenants.limits.columns import LimitColumns
from tenants.limits.texts import limit_texts

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


class LimitFields(forms.Form):
    """Spend in dollars, and models one per line; the other limits come from the model.

    ``limit_help``: the help text of each limit.
    """

    limit_help: ClassVar[Mapping[str, StrOrPromise]]
    spend_per_day_microusd = DollarsField(label=_("Spend per day"))
    spend_per_month_microusd = DollarsField(label=_("Spend per month"))
    allowed_models = LinesField(label=_("Allowed models"))

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in self.limit_help.keys() & self.fields.keys():  # read-only limits have no fields
            self.fields[name].help_text = self.limit_help[name]


def settings_of(form: Any, names: Collection[str]) -> dict[str, Any]:
    """Return the values of those of the form's fields, for the services."""
    data: Mapping[str, Any] = form.cleaned_data
    return {name: data[name] for name in names if name in data}


def limits_line(row: LimitColumns) -> str | None:
    """Return the limits that are set, as one text."""
    return " · ".join(limit_texts(row.limits())) or None
