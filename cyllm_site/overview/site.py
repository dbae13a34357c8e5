"""The admin site: an index that shows the state of the platform, and the page of the workers."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from typing_extensions import override
from unfold.sites import UnfoldAdminSite

from cyllm_site.overview.index import overview, visible_tenants
from cyllm_site.overview.workers import workers_context


class OverviewSite(UnfoldAdminSite):  # type: ignore[misc]  # untyped
    """Unfold's site without its style element, and with the overview as index."""

    index_template = "overview/index.html"
    final_catch_all_view = True

    @override
    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out the colours: the theme writes them as an inline style; ours are in colours.css."""
        return {**super().each_context(request), "colors": {}}

    def extra_urls(self) -> list[URLPattern]:
        """Return the addresses of pages without a model."""
        return [path("workers/", self.admin_view(self.workers), name="workers")]

    @override
    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show what needs attention, the last day, and the latest changes."""
        context = {"title": _("Overview"), "overview": overview(request), **(extra_context or {})}
        response: HttpResponse = super().index(request, context)
        return response

    def workers(self, request: HttpRequest) -> HttpResponse:
        """Show the workers and the readiness of each model, to those who may view models."""
        if not request.user.has_perm("registry.view_servedmodel"):
            raise Http404
        workers = workers_context(visible_tenants(request.user))
        context = {**self.each_context(request), "title": _("Workers"), **workers}
        return TemplateResponse(request, "overview/workers.html", context)
