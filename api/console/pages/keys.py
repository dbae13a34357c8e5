"""API keys of a tenant: list, creation with a secret that is shown once, rotation, revocation, limits."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from api.console.access import TenantRequest, tenant_page
from api.console.forms import error_response
from api.console.rendering import json_response, page
from api.console.tenancy.key_forms import ChangeKeyForm, NewKeyForm, RotateForm
from api.console.tenancy.key_rows import key_rows, tenant_keys
from backoffice.admin_base import actor_of
from tenants.choices import KeyPurpose
from tenants.keys.selectors import KeyState, keys
from tenants.keys.services import key_create, key_lock, key_revoke, key_rotate, key_update
from tenants.members.roles import can_create_keys, can_manage_key
from tenants.models import ApiKey

PAGE_SIZE = 50


@tenant_page()
@require_http_methods(["GET", "HEAD", "POST"])
def key_list(request: TenantRequest) -> HttpResponse:
    """Show the keys that the person may see; POST creates one and returns its secret as JSON."""
    if request.method == "POST":
        return _create(request)
    text, state_name = request.GET.get("q", "").strip(), request.GET.get("state", "")
    if state_name and state_name not in KeyState.values:
        messages.error(
            request,
            gettext("“state” is %(value)s, which is not a state of a key.") % {"value": state_name[:40]},
        )
    state = KeyState(state_name) if state_name in KeyState.values else None
    rows = Paginator(tenant_keys(request, text, state), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "page": rows,
        "rows": key_rows(request, list(rows)),
        "states": KeyState.choices,
        "state": state,
        "text": text,
        "form": NewKeyForm(request) if can_create_keys(request.role) else None,
        "rotate_form": RotateForm(),
    }
    status = 400 if state_name and state is None else 200
    return page(
        request, "console/keys/list.html", context, section="keys", title=gettext("Keys"), status=status
    )


@sensitive_variables("secret")
def _create(request: TenantRequest) -> JsonResponse:
    form = NewKeyForm(request, request.POST)
    if form.is_valid():
        try:
            key, secret = key_create(
                tenant=request.tenant,
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                actor=actor_of(request.user),
                created_by=request.user,
                service_account=form.service_account,
                expires_at=form.expires_at,
                **form.settings(),
            )
        except ValidationError as error:
            form.add_service_error(error)
        else:
            return _secret_response(key, secret)
    return error_response(form)


@tenant_page()
@require_http_methods(["GET", "HEAD", "POST"])
def key_detail(request: TenantRequest, key_id: uuid.UUID) -> HttpResponse:
    """Show the settings of a key; POST changes them."""
    key = _find(request, key_id)
    if request.method == "POST":
        form = _change(request, key)
        if form.is_valid():
            messages.success(request, gettext("The key %(name)s was changed.") % {"name": key.name})
            return redirect("console:keys", request.tenant.slug)
    else:
        form = ChangeKeyForm(request, initial=ChangeKeyForm.initial_of(key))
    [row] = key_rows(request, [key])
    context = {"row": row, "form": form, "can_save": row.state is not KeyState.REVOKED}
    status = 200 if not form.errors else 422
    return page(request, "console/keys/detail.html", context, section="keys", title=key.name, status=status)


@transaction.atomic
def _change(request: TenantRequest, key: ApiKey) -> ChangeKeyForm:
    """Change a key; return the form, not valid if nothing was changed."""
    # Locked, so that nothing changes the key between the check of the form's version and the commit.
    form = ChangeKeyForm(request, request.POST, initial=ChangeKeyForm.initial_of(key_lock(key.id)))
    if form.is_valid():
        try:
            key_update(key_id=key.id, actor=actor_of(request.user), **form.changes())
        except ValidationError as error:
            form.add_service_error(error)
    return form


@tenant_page()
@require_POST
@sensitive_variables("secret")
def key_rotation(request: TenantRequest, key_id: uuid.UUID) -> JsonResponse:
    """Replace a key; returns the secret of its successor."""
    key, form = _find(request, key_id), RotateForm(request.POST)
    if form.is_valid():
        try:
            successor, secret = key_rotate(
                key_id=key.id,
                grace_s=form.cleaned_data["grace_s"],
                actor=actor_of(request.user),
                created_by=request.user,
            )
        except ValidationError as error:
            form.add_service_error(error)
        else:
            return _secret_response(successor, secret)
    return error_response(form)


@tenant_page()
@require_POST
def key_revocation(request: TenantRequest, key_id: uuid.UUID) -> JsonResponse:
    """Revoke a key."""
    key = key_revoke(key_id=_find(request, key_id, with_playground=True).id, actor=actor_of(request.user))
    return JsonResponse({"prefix": key.prefix})


@sensitive_variables("secret")
def _secret_response(key: ApiKey, secret: str) -> JsonResponse:
    return json_response({"name": key.name, "prefix": key.prefix, "secret": secret})


def _find(request: TenantRequest, key_id: uuid.UUID, *, with_playground: bool = False) -> ApiKey:
    """Return a key that the person may change. Raises Http404 for others, PermissionDenied for viewers."""
    key = keys(tenant=request.tenant).select_related("created_by").filter(id=key_id).first()
    if key is None:
        raise Http404
    if not can_manage_key(request.role, request.user.pk, key):
        raise PermissionDenied(gettext("Members can change their own keys only."))
    if key.purpose == KeyPurpose.PLAYGROUND and not with_playground:
        raise PermissionDenied(gettext("The playground renews this key by itself. It can only be revoked."))
    return key
