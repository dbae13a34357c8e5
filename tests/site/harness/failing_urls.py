"""The site's URLs with views that fail."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from cyllm_site import urls


def fail(_: HttpRequest) -> HttpResponse:
    """Fail."""
    raise RuntimeError("a secret in a message")


urlpatterns = [path("broken", fail), path("admin/broken", fail), *urls.urlpatterns]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500
