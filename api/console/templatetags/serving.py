"""Template filters of the pages about serving: short times and shares."""

from __future__ import annotations

from django import template

from api.console.templatetags.console import ABSENT

register = template.Library()


@register.filter
def seconds(value: float | None) -> str:
    """Return a short time such as 340 ms or 2.31 s; “—” for None."""
    if value is None:
        return ABSENT
    if value < 0.0005:
        return "<1 ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.3g} s"


@register.filter
def share(value: float | None) -> str:
    """Return a share such as 0.873 as 87.3 %; “—” for None."""
    return f"{value * 100:.1f} %" if isinstance(value, (int, float)) else ABSENT
