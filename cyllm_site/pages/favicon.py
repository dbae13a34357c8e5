"""The browser's icon."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.templatetags.static import static
from django.views.decorators.http import require_safe


@require_safe
def icon(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - Django's interface
    """Redirect to the icon."""
    return HttpResponseRedirect(static("cyllm_site/favicon.svg"))
