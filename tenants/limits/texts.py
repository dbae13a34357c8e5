"""Limits as short texts for lists of tenants and keys, and the help texts of their forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from backoffice.display.money import dollars

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

    from tenants.limits.columns import UsageLimits


_NOT_LIMITED = gettext_lazy("If empty, not limited.")
KEY_HELP: Mapping[str, StrOrPromise] = {
    "requests_per_minute": _NOT_LIMITED,
    "tokens_per_minute": _NOT_LIMITED,
    "concurrent_requests": _NOT_LIMITED,
    "spend_per_day_microusd": gettext_lazy("In dollars, per day in UTC. If empty, not limited."),
    "spend_per_month_microusd": gettext_lazy("In dollars, per month in UTC. If empty, not limited."),
    "allowed_models": gettext_lazy(
        "Names or aliases, one per line. If empty, not limited: every model of the tenant."
    ),
    "allowed_networks": gettext_lazy(
        "Such as 192.0.2.0/24 or 2001:db8::/32, one per line. If empty, not limited: every address."
    ),
}
_PLATFORM_SETTING = gettext_lazy("If empty, the platform's setting.")
TENANT_HELP: Mapping[str, StrOrPromise] = {
    "requests_per_minute": _PLATFORM_SETTING,
    "tokens_per_minute": _PLATFORM_SETTING,
    "concurrent_requests": _PLATFORM_SETTING,
    "spend_per_day_microusd": gettext_lazy("In dollars, per day in UTC. If empty, the platform's setting."),
    "spend_per_month_microusd": gettext_lazy(
        "In dollars, per month in UTC. If empty, the platform's setting."
    ),
    "allowed_models": gettext_lazy("Names or aliases, one per line. If empty, not limited: every model."),
}


def limit_texts(limits: UsageLimits) -> list[str]:
    """Return one text per limit that is set, such as ``60 requests/min`` or ``$12.50/month``."""
    texts: list[str] = []
    if (requests := limits.requests_per_minute) is not None:
        texts.append(
            ngettext("%(count)d request/min", "%(count)d requests/min", requests) % {"count": requests}
        )
    if (tokens := limits.tokens_per_minute) is not None:
        texts.append(ngettext("%(count)d token/min", "%(count)d tokens/min", tokens) % {"count": tokens})
    if (concurrent := limits.concurrent_requests) is not None:
        texts.append(_("%(count)d at a time") % {"count": concurrent})
    if (day := limits.spend_per_day_microusd) is not None:
        texts.append(_("$%(amount)s/day") % {"amount": dollars(day)})
    if (month := limits.spend_per_month_microusd) is not None:
        texts.append(_("$%(amount)s/month") % {"amount": dollars(month)})
    if names := sorted(limits.allowed_models):
        texts.append(", ".join(names))
    return texts
