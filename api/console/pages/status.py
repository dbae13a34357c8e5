"""The status page of operators: workers, training, latency, errors, stores."""

from __future__ import annotations

from django.http import HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from api.console.access import ConsoleRequest, operator_page
from api.console.rendering import json_response, page
from api.console.serving.platform import platform_state


@operator_page
@require_safe
def status(request: ConsoleRequest) -> HttpResponse:
    """Show the state of the platform."""
    context = {"state": platform_state()}
    return page(request, "console/status/page.html", context, section="status", title=gettext("Status"))


@operator_page
@require_safe
def status_part(request: ConsoleRequest) -> JsonResponse:
    """Return the part of the page that changes."""
    html = render_to_string("console/status/part.html", {"state": platform_state()}, request)
    return json_response({"html": html})
