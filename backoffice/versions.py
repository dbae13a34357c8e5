"""Versions of objects, so that a form that was opened before another change doesn't undo that change."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

FIELD = "version"  # hidden, with the object's version when the form was opened
CHANGED_MEANWHILE = _(
    "This was changed after you opened the page; its history shows how. To replace those changes with the "
    "values below, save again."
)


def object_version(kind: str, object_id: str) -> str:
    """Return the version of an audited object. The setting ``OBJECT_VERSION`` names the function."""
    return str(import_string(settings.OBJECT_VERSION)(kind, object_id))


def is_outdated(request: HttpRequest, version: str) -> bool:
    """Return whether the object of a form has changed since the form was opened."""
    return request.method == "POST" and request.POST.get(FIELD, version) != version


class OutdatedForm:
    """Mixin for a form whose object has changed since the form was opened."""

    def clean(self) -> dict[str, Any]:
        """Refuse the form as a whole."""
        form: Any = super()
        data: dict[str, Any] = form.clean()
        self.add_error(None, CHANGED_MEANWHILE)  # type: ignore[attr-defined]  # of the form
        return data
