"""Links in the cells of admin pages."""

from __future__ import annotations

from django.utils.html import format_html
from django.utils.safestring import SafeString


def link_html(address: str, text: object) -> SafeString:
    """Return a link in the theme's colours."""
    return format_html('<a href="{}" class="text-primary-600 dark:text-primary-500">{}</a>', address, text)
