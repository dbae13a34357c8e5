"""Django forms of the console, rendered by parts/form_field.html, and their errors as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.http import JsonResponse

UNPROCESSABLE = 422


class ConsoleForm(forms.Form):
    """A form whose ids are unique on a page with several: ``prefix`` of the id and the field's name."""

    id_prefix = "id"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"auto_id": f"{self.id_prefix}-%s", "label_suffix": ""} | options)

    def add_service_error(self, error: ValidationError) -> None:
        """Add a service's errors to the fields that they name, or to the form if it has no such field."""
        if not hasattr(error, "error_dict"):
            self.add_error(None, error)
            return
        for name, errors in error.error_dict.items():
            self.add_error(name if name in self.fields else None, errors)


def error_response(form: ConsoleForm) -> JsonResponse:
    """Return the errors of a form by field; those of the whole form under ``__all__``."""
    errors: Mapping[str, list[str]] = {
        name: [str(text) for text in texts] for name, texts in form.errors.items()
    }
    return JsonResponse({"errors": {NON_FIELD_ERRORS: [], **errors}}, status=UNPROCESSABLE)
