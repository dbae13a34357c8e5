"""JSON fields of the admin as indented text: the theme's display has inline styles, which the CSP forbids."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib.admin import display
from django.utils.html import format_html
from django.utils.safestring import SafeString

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


def json_display(field: str, description: StrOrPromise) -> Callable[[Any, Any], SafeString | None]:
    """Return a method of an admin class that shows the JSON ``field`` of its object."""

    @display(description=description, empty_value="-")
    def show(_admin: Any, row: Any) -> SafeString | None:
        """Return the value as indented JSON; None if it is null or empty."""
        value = getattr(row, field)
        if not value:
            return None
        text = json.dumps(value, indent=2, ensure_ascii=False)
        return format_html('<pre class="whitespace-pre-wrap">{}</pre>', text)

    return show
