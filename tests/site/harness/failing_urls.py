"""The site's URLs with views that fail."""

from __future__ import annotations

from django.core.exceptions import SuspiciousFileOperation
from django.http import HttpRequest, HttpResponse
from django.urls import path

from cyllm_site import urls

MESSAGE = "a secret in a message"  # traces contain lines of the source


def fail(_: HttpRequest) -> HttpResponse:
    """Fail."""
    raise RuntimeError(MESSAGE)


def suspect(request: HttpRequest) -> HttpResponse:
    """Refuse the query's text as the name of a file."""
    raise SuspiciousFileOperation(f"Could not derive file name from '{request.GET['q']}'")


urlpatterns = [
    path("broken", fail),
    path("admin/broken", fail),
    path("suspicious", suspect),
    *urls.urlpatterns,
]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500
