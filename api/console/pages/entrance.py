"""The landing page, the sign-in page, and the redirects to a tenant's pages."""

from __future__ import annotations

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_safe
from typing_extensions import override

from api.console.access import (
    LAST_TENANT,
    ConsoleRequest,
    TenantRequest,
    signed_in,
    tenant_access,
    tenant_page,
    tenants_of,
)
from api.console.rendering import page, theme


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """Introduce the platform and its API; redirect signed-in people to the console."""
    if request.user.is_authenticated:
        return redirect("console:home")
    base_url = request.build_absolute_uri("/v1")
    return page(request, "console/landing.html", {"base_url": base_url}, title="CY-LLM")


class SignIn(LoginView):
    """The console's sign-in page. Failed attempts count together with those of the admin."""

    template_name = "console/sign_in.html"
    form_class = AuthenticationForm
    redirect_authenticated_user = True

    @override
    def get_context_data(self, **values: object) -> dict[str, object]:
        context = super().get_context_data(**values)
        return context | {"title": gettext("Sign in"), "theme": theme(self.request)}

    @override
    def get_default_redirect_url(self) -> str:
        return reverse("console:home")


@signed_in
@require_safe
def home(request: ConsoleRequest) -> HttpResponse:
    """Go to the jobs of the last tenant, or of the only one."""
    last = request.session.get(LAST_TENANT)
    if isinstance(last, str) and tenant_access(request.user, last) is not None:
        return redirect("console:jobs", last)
    tenants = tenants_of(request.user)
    if len(tenants) == 1:
        return redirect("console:jobs", tenants[0].slug)
    return page(request, "console/home.html", {"choices": tenants}, title=gettext("Choose a tenant"))


@tenant_page()
@require_safe
def tenant_home(request: TenantRequest) -> HttpResponseRedirect:
    """Go to the jobs of a tenant."""
    return redirect("console:jobs", request.tenant.slug)
