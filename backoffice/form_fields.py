"""Form fields of the admin and the console: amounts in dollars, and lists with one entry per line."""

from __future__ import annotations

from typing import Any

from django import forms
from typing_extensions import override
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from backoffice.display.money import dollars, microusd_parse


class DollarsField(forms.CharField):
    """An amount in dollars, whose value is in whole micro-dollars; None if empty."""

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "placeholder": "12.50"})
        super().__init__(**{"required": False, "widget": widget, "max_length": 24} | options)

    @override
    def to_python(self, value: Any) -> Any:
        """Return micro-dollars. Raises ValidationError."""
        text = super().to_python(value)
        return microusd_parse(text) if text else None

    @override
    def run_validators(self, value: Any) -> None:
        """Skip the validators: the maximum length applies to the text, not to the number."""

    @override
    def prepare_value(self, value: Any) -> Any:
        """Return micro-dollars as dollars; what somebody typed stays as it is."""
        return dollars(value) if isinstance(value, int) else value

    @override
    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare the amounts, not their spelling."""
        return super().has_changed(self.prepare_value(initial), data)


class LinesField(forms.CharField):
    """A list of texts, one per line or separated by commas."""

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminTextareaWidget(attrs={"rows": 3})
        super().__init__(**{"required": False, "widget": widget} | options)

    @override
    def to_python(self, value: Any) -> Any:
        """Return the entries without surrounding space."""
        text = super().to_python(value) or ""
        return [entry.strip() for entry in text.replace(",", "\n").splitlines() if entry.strip()]

    @override
    def prepare_value(self, value: Any) -> Any:
        """Return the entries on lines of their own."""
        return "\n".join(value) if isinstance(value, list) else value

    @override
    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare the entries."""
        return bool(list(initial or []) != self.to_python(data))
