"""The admin's sidebar, grouped by purpose."""

from __future__ import annotations

from typing import TypedDict

from django.apps import apps
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

SERVING = _("Serving")
# Title of each group, and its models with their icons (Material Symbols).
GROUPS: tuple[tuple[Promise, dict[str, str]], ...] = (
    (
        _("Access"),
        {
            "tenants.Tenant": "apartment",
            "tenants.Membership": "group",
            "tenants.ServiceAccount": "smart_toy",
            "tenants.ApiKey": "key",
            "auth.User": "person",
        },
    ),
    (SERVING, {"registry.ServedModel": "deployed_code", "registry.Adapter": "extension"}),
    (
        _("Fine-tuning"),
        {
            "files.StoredFile": "draft",
            "training.FineTuningJob": "model_training",
            "training.JobAttempt": "restart_alt",
            "training.JobEvent": "list_alt",
            "training.JobCheckpoint": "flag",
            "training.TrainingPolicy": "policy",
        },
    ),
    (
        _("Records"),
        {
            "tenants.UsageRecord": "bar_chart",
            "tenants.AuditRecord": "receipt_long",
            "usage.RefusalCount": "block",
            "tenants.AdminAudit": "history",
            "stored.StoredResponse": "forum",
        },
    ),
)


class Entry(TypedDict):
    """A sidebar entry in Unfold's format."""

    title: str
    icon: str
    link: str


class Group(TypedDict):
    """A sidebar group."""

    title: Promise
    items: list[Entry]


def sidebar(request: HttpRequest) -> list[Group]:
    """Return the groups with the pages that the user may view."""
    groups: list[Group] = [
        {
            "title": title,
            "items": [_entry(name, icon) for name, icon in models.items() if _can_view(request, name)],
        }
        for title, models in GROUPS
    ]
    for group in groups:
        if group["title"] is SERVING and _can_view(request, "registry.ServedModel"):
            link = reverse("admin:workers")
            group["items"].append({"title": gettext("Workers"), "icon": "dns", "link": link})
    return [group for group in groups if group["items"]]


def _can_view(request: HttpRequest, name: str) -> bool:
    label, model = name.lower().split(".")
    return any(request.user.has_perm(f"{label}.{right}_{model}") for right in ("view", "change"))


def _entry(name: str, icon: str) -> Entry:
    options = apps.get_model(name)._meta
    link = reverse(f"admin:{options.app_label}_{options.model_name}_changelist")
    return {"title": capfirst(str(options.verbose_name_plural)), "icon": icon, "link": link}
