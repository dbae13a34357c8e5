"""Every URL pattern of the admin, read from its URL configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.test import RequestFactory
from django.urls import URLPattern, URLResolver

ARGUMENT = re.compile(r"<(?:\w+:)?\w+>")
# Addresses that answer scripts, and those that redirect to what replaced them.
FRAGMENTS = ("autocomplete/", "jsi18n/", "search/")
OLD_ADDRESS = re.compile(r"^r/|^\w+/\w+/<path:object_id>/$")


@dataclass(frozen=True)
class AdminUrl:
    """A URL pattern below /admin/; ``model`` is "application/model", empty for pages without one."""

    pattern: str
    model: str

    def path(self, argument: object) -> str:
        """Return the path with its arguments replaced."""
        return "/admin/" + ARGUMENT.sub(str(argument), self.pattern)

    @property
    def has_argument(self) -> bool:
        """Return whether the pattern has an argument."""
        return ARGUMENT.search(self.pattern) is not None


def admin_urls() -> list[AdminUrl]:
    """Return the URLs of all registered pages, without sign-out and regular expressions."""
    models = {f"{model._meta.app_label}/{model._meta.model_name}" for model in admin.site._registry}
    urls = []
    for pattern in _patterns(admin.site.urls[0], ""):
        model = "/".join(pattern.split("/")[:2])
        urls.append(AdminUrl(pattern, model if model in models else ""))
    return urls


def admin_pages(user: User) -> list[str]:
    """Return the pages that a user may open; those of objects for the newest one of each model."""
    pages = []
    for url in admin_urls():
        newest = (
            apps.get_model(url.model.replace("/", ".")).objects.order_by("-pk").first() if url.model else None
        )
        if (
            url.pattern not in FRAGMENTS
            and not OLD_ADDRESS.search(url.pattern)
            and _may_open(url, user, newest)
        ):
            pages.append(url.path(quote(newest.pk) if newest else ""))
    return pages


def _may_open(url: AdminUrl, user: User, newest: Any) -> bool:
    if not url.model:
        return True
    request = RequestFactory().get("/admin/")
    request.user = user
    model_admin = admin.site._registry[apps.get_model(url.model.replace("/", "."))]
    if url.pattern.endswith("/add/"):
        return model_admin.has_add_permission(request)
    if url.pattern.endswith("/delete/"):
        return newest is not None and model_admin.has_delete_permission(request, newest)
    return newest is not None or not url.has_argument


def _patterns(entries: Sequence[Any], prefix: str) -> Iterator[str]:
    for entry in entries:
        text = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _patterns(entry.url_patterns, text)
        elif isinstance(entry, URLPattern) and "(" not in text and entry.name != "logout":
            yield text
