"""Members of a tenant: list, addition, roles, removal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST

from api.console.access import TenantRequest, tenant_page
from api.console.forms import ConsoleForm
from api.console.rendering import page
from backoffice.admin_base import actor_of
from tenants.choices import Role
from tenants.members.roles import can_manage_members
from tenants.members.selectors import memberships, user_by_name
from tenants.members.services import membership_change, membership_remove, membership_set
from tenants.models import Membership

RIGHTS = {
    Role.OWNER: _("everything, members included"),
    Role.ADMIN: _("all keys, files and jobs of the tenant"),
    Role.MEMBER: _("own keys; models, files and jobs"),
    Role.VIEWER: _("look only, no keys"),
}


class AddForm(ConsoleForm):
    """An existing account and its role."""

    id_prefix = "add"
    username = forms.CharField(
        label=_("Username"),
        max_length=150,
        help_text=_("Of an existing account; an operator creates accounts."),
    )
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.MEMBER)


@tenant_page(changes=Role.OWNER)
@require_http_methods(["GET", "HEAD", "POST"])
def member_list(request: TenantRequest) -> HttpResponse:
    """Show the members; POST adds an existing account."""
    form = AddForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and _add(request, form):
        return redirect("console:members", request.tenant.slug)
    rows = list(memberships(tenant=request.tenant))
    owners = sum(row.role == Role.OWNER for row in rows)
    context = {
        "rows": [(row, row.role == Role.OWNER and owners == 1) for row in rows],
        "form": form if can_manage_members(request.role) else None,
        "roles": Role.choices,
        "rights": [(role.label, text) for role, text in RIGHTS.items()],
    }
    status = 422 if form.errors else 200
    title = gettext("Members")
    return page(request, "console/members/list.html", context, section="members", title=title, status=status)


def _add(request: TenantRequest, form: AddForm) -> bool:
    name = form.cleaned_data["username"]
    user = user_by_name(name)
    if user is None:
        if request.user.is_superuser:
            text = _("There is no account with this name. Create it with “Create an account” first.")
        else:
            text = _("There is no account with this name. Ask an operator to create it.")
        form.add_error("username", text)
    elif Membership.objects.filter(tenant=request.tenant, user=user).exists():
        form.add_error("username", _("This person is a member already. Change the role in the list."))
    else:
        return _set_role(request, user, form.cleaned_data["role"])
    return False


@tenant_page(changes=Role.OWNER)
@require_POST
def member_change(request: TenantRequest, user_id: int) -> HttpResponse:
    """Change a member's role, or remove the member."""
    row = get_object_or_404(memberships(tenant=request.tenant), user_id=user_id)
    if request.POST.get("action") == "remove":
        _remove(request, row.user)
    else:
        with suppress(Membership.DoesNotExist):  # another request has removed the member meanwhile
            _set_role(request, row.user, request.POST.get("role", ""), set_role=membership_change)
    return redirect("console:members", request.tenant.slug)


def _set_role(
    request: TenantRequest, user: User, role: str, set_role: Callable[..., Membership] = membership_set
) -> bool:
    try:
        set_role(tenant=request.tenant, user=user, role=role, actor=actor_of(request.user))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return False
    values = {"user": user.get_username(), "role": Role(role).label}
    messages.success(request, gettext("%(user)s now has the role “%(role)s”.") % values)
    return True


def _remove(request: TenantRequest, user: User) -> None:
    try:
        membership_remove(tenant=request.tenant, user=user, actor=actor_of(request.user))
    except Membership.DoesNotExist:
        pass  # another request has removed the member meanwhile, as the list shows
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(
            request, gettext("%(user)s was removed, and the keys of %(user)s were revoked.") % {"user": user}
        )
