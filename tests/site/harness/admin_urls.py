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
from django.http import HttpRequest
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
    """Return the pages that a user may open; those of objects for one of each model."""
    pages = []
    for url in admin_urls():
        row = _row(url, user) if url.model else None
        if url.pattern not in FRAGMENTS and not OLD_ADDRESS.search(url.pattern) and _may_open(url, user, row):
            pages.append(url.path(quote(row.pk) if row else ""))
    return pages


def _request(user: User) -> HttpRequest:
    request = RequestFactory().get("/admin/")
    request.user = user
    return request


def _row(url: AdminUrl, user: User) -> Any:
    """Return an object of a model, one that the user may change if there is any."""
    model = apps.get_model(url.model.replace("/", "."))
    rows = list(model.objects.order_by("-pk")[:20])
    model_admin = admin.site._registry[model]
    changeable_rows = (row for row in rows if model_admin.has_change_permission(_request(user), row))
    return next(changeable_rows, rows[0] if rows else None)


def _may_open(url: AdminUrl, user: User, row: Any) -> bool:
    if not url.model:
        return True
    request = _request(user)
    model_admin = admin.site._registry[apps.get_model(url.model.replace("/", "."))]
    if url.pattern.endswith("/add/"):
        return model_admin.has_add_permission(request)
    if url.pattern.endswith("/delete/"):
        return row is not None and model_admin.has_delete_permission(request, row)
    return row is not None or not url.has_argument


def _patterns(entries: Sequence[Any], prefix: str) -> Iterator[str]:
    for entry in entries:
        text = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _patterns(entry.url_patterns, text)
        elif isinstance(entry, URLPattern) and "(" not in text and entry.name != "logout":
            yield text
