"""Sign-in in two steps, for the admin and the console: the password, then a code of the second factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_lockout_response
from django import forms
from django.contrib import admin
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST
from typing_extensions import override
from unfold.forms import AuthenticationForm as UnfoldSignInForm

from api.console.pages.entrance import SignIn
from api.console.rendering import theme
from backoffice.admin_base import actor_of
from cyllm_site.sign_in import second_factor
from cyllm_site.sign_in.pending import SECOND_FACTOR, pending_begin, pending_complete, pending_user

FORM_METHODS = ["GET", "HEAD", "POST"]
Result = TypeVar("Result")


class TwoStepSignIn(LoginView):
    """A sign-in page that asks for the second factor of those who have or need one."""

    @override
    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Sign the person in, or go to the second step."""
        user = form.get_user()
        if not second_factor.is_needed(user):
            return super().form_valid(form)
        pending_begin(self.request, user, self.get_success_url())
        return redirect("sign-in-code" if second_factor.is_enrolled(user) else "sign-in-enrol")


class ConsoleSignIn(TwoStepSignIn, SignIn):
    """The sign-in page of the console."""


class StaffSignInForm(UnfoldSignInForm):  # type: ignore[misc]  # the package is untyped
    """The admin's sign-in form, which tells members of tenants where their pages are."""

    @override
    def confirm_login_allowed(self, user: User) -> None:
        """Refuse accounts without rights in the admin; the password was right."""
        if user.is_active and not user.is_staff:
            raise ValidationError(
                gettext_lazy("This account has no rights in the administration. Use the console instead."),
                code="no_staff",
            )
        super().confirm_login_allowed(user)


class AdminSignIn(TwoStepSignIn):
    """The sign-in page of the admin, in its style."""

    template_name = "admin/login.html"
    form_class = StaffSignInForm

    @override
    def dispatch(self, request: HttpRequest, *args: Any, **values: Any) -> HttpResponseBase:
        """Send those who are signed in already to the index."""
        if request.method == "GET" and admin.site.has_permission(request):
            return redirect("admin:index")
        return super().dispatch(request, *args, **values)

    @override
    def get_default_redirect_url(self) -> str:
        return reverse("admin:index")

    @override
    def get_context_data(self, **values: object) -> dict[str, object]:
        username = self.request.user.get_username()
        texts = {"title": gettext("Sign in"), "subtitle": None, "username": username}
        site = admin.site.each_context(self.request)
        return {
            **site,
            **super().get_context_data(**values),
            **texts,
            "app_path": self.request.get_full_path(),
        }


class CodeForm(forms.Form):
    """A code of the app, or a recovery code."""

    code = forms.CharField(
        label=gettext_lazy("Code"),
        max_length=64,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"}
        ),
    )


def _page(request: HttpRequest, name: str, title: str, context: dict[str, object]) -> HttpResponse:
    shell = {"title": title, "theme": theme(request)}
    response = render(request, f"sign_in/{name}.html", shell | context)
    response["Cache-Control"] = "no-store"
    return response


def _attempt(
    request: HttpRequest, user: User, form: CodeForm, verify: Callable[[User, str], Result]
) -> Result | None:
    """Return what ``verify`` returns for the form's code; wrong codes count as failed sign-ins."""
    if not form.is_valid():
        return None
    result = verify(user, form.cleaned_data["code"])
    if not result:
        form.add_error("code", gettext("This code is wrong or has been used. Wait for the next one."))
        credentials = {"username": user.get_username()}
        user_login_failed.send(sender=__name__, credentials=credentials, request=request)
    return result


def _lock(request: HttpRequest, user: User) -> HttpResponse | None:
    """Return the page of a locked client, None if it may try."""
    credentials = {"username": user.get_username()}
    if AxesProxyHandler.is_allowed(request, credentials):
        return None
    response: HttpResponse = get_lockout_response(request, credentials=credentials)
    return response


@never_cache
@sensitive_post_parameters()
@require_http_methods(FORM_METHODS)
def sign_in_code(request: HttpRequest) -> HttpResponse:
    """Ask for a code after the password, then sign in."""
    user = pending_user(request)
    if user is None or not second_factor.is_enrolled(user):
        return redirect("console:sign-in")
    if (lock := _lock(request, user)) is not None:
        return lock
    form = CodeForm(request.POST if request.method == "POST" else None)
    if form.is_bound and _attempt(request, user, form, second_factor.code_verify):
        return HttpResponseRedirect(pending_complete(request, user))
    return _page(request, "code", gettext("Second factor"), {"form": form})


@never_cache
@sensitive_post_parameters()
@require_http_methods(FORM_METHODS)
def sign_in_enrol(request: HttpRequest) -> HttpResponse:
    """Set up an authenticator app: while signing in if one is required, or when signed in."""
    pending = pending_user(request)
    user = pending or (request.user if isinstance(request.user, User) else None)
    if user is None or second_factor.is_enrolled(user):
        return redirect("console:sign-in" if user is None else "two-factor")
    if (lock := _lock(request, user)) is not None:
        return lock
    form = CodeForm(request.POST if request.method == "POST" else None)
    codes = _attempt(request, user, form, second_factor.enrolment_confirm) if form.is_bound else None
    if codes:
        target = _sign_in_after_enrolment(request, user, is_pending=pending is not None)
        return _codes_page(request, codes, target)
    context = {
        "form": form,
        "enrolment": second_factor.enrolment_begin(user),
        "is_pending": pending is not None,
    }
    return _page(request, "enrol", gettext("Set up a second factor"), context)


def _sign_in_after_enrolment(request: HttpRequest, user: User, *, is_pending: bool) -> str:
    if is_pending:
        return pending_complete(request, user)
    request.session[SECOND_FACTOR] = True
    return reverse("two-factor")


def _codes_page(request: HttpRequest, codes: list[str], target: str) -> HttpResponse:
    return _page(request, "recovery_codes", gettext("Recovery codes"), {"codes": codes, "target": target})


def two_factor(request: HttpRequest) -> HttpResponse:
    """Show the second factor of the signed-in person."""
    if not isinstance(request.user, User):
        return redirect("console:sign-in")
    return _state_page(request, request.user, CodeForm())


def _state_page(request: HttpRequest, user: User, form: CodeForm) -> HttpResponse:
    context = {
        "form": form,
        "is_enrolled": second_factor.is_enrolled(user),
        "is_required": second_factor.is_required(user),
        "codes_left": second_factor.recovery_codes_left(user),
    }
    return _page(request, "two_factor", gettext("Second factor"), context)


@never_cache
@sensitive_post_parameters()
@require_POST
def two_factor_change(request: HttpRequest) -> HttpResponse:
    """Replace the recovery codes or remove the second factor; both need a valid code."""
    user = request.user
    if not isinstance(user, User):
        return redirect("console:sign-in")
    if (lock := _lock(request, user)) is not None:
        return lock
    form = CodeForm(request.POST)
    if not _attempt(request, user, form, second_factor.code_verify):
        return _state_page(request, user, form)
    if request.POST.get("change") == "remove" and not second_factor.is_required(user):
        second_factor.second_factor_remove(user, actor=actor_of(user))
        return redirect("two-factor")
    return _codes_page(request, second_factor.recovery_codes_replace(user), reverse("two-factor"))
