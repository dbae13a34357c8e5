"""The API reference: both OpenAPI documents in Swagger UI, whose files this site serves itself."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from api.console.rendering import theme

DOCUMENTS = ("/openapi.json", "/api/admin/v1/openapi.json")


@require_safe
def api_reference(request: HttpRequest) -> HttpResponse:
    """Show the reference. No query: it is for everybody, signed in or not."""
    public, administration = DOCUMENTS
    context = {
        "title": gettext("API reference"),
        "theme": theme(request),
        "public": public,
        "administration": administration,
        "base_url": request.build_absolute_uri("/v1"),
    }
    return render(request, "reference/page.html", context)
