"""Models and adapters of a tenant: readiness and why, prices, speed, lineage and proof."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_safe

from api.console.access import TenantRequest, has_role, tenant_page
from api.console.rendering import json_response, page
from api.console.serving.models import ModelRow, lineage, lineage_addresses, model_row, model_rows
from api.console.serving.speed import model_speeds
from api.console.snippets import chat_snippets
from backoffice.admin_base import actor_of
from inference_worker.registry.adapter_services import adapter_delete
from tenants.choices import Role


@tenant_page()
@require_safe
def model_list(request: TenantRequest) -> HttpResponse:
    """Show every model that the tenant may use."""
    speeds = model_speeds(tenant_id=request.tenant.id)
    rows = [(row, speeds.get(row.model.name)) for row in model_rows(request.tenant.id)]
    return page(
        request, "console/models/list.html", {"rows": rows}, section="models", title=gettext("Models")
    )


@tenant_page()
@require_safe
def model_states(request: TenantRequest) -> JsonResponse:
    """Return the readiness of every model, for pages that stay open."""
    rows = [row.as_json() for row in model_rows(request.tenant.id)]
    return json_response({"models": rows})


@tenant_page()
@require_http_methods(["GET", "HEAD", "POST"])
def model_detail(request: TenantRequest, name: str) -> HttpResponse:
    """Show one model; POST deletes an adapter of the tenant."""
    row = model_row(request.tenant.id, name)
    if row is None:
        raise Http404
    if request.method == "POST":
        return _delete(request, row)
    speeds = model_speeds(tenant_id=request.tenant.id, model=name)
    origin = lineage(row.model, request.tenant.id)
    context = {
        "row": row,
        "speed": speeds.get(name),
        "lineage": origin,
        **lineage_addresses(origin, request.tenant.slug),
        "snippets": chat_snippets(request.build_absolute_uri("/v1"), name),
        "can_delete": row.belongs_to(request.tenant.id) and has_role(request.role, Role.MEMBER),
    }
    return page(request, "console/models/detail.html", context, section="models", title=name)


def _delete(request: TenantRequest, row: ModelRow) -> HttpResponse:
    if not row.belongs_to(request.tenant.id):
        raise PermissionDenied(gettext("Only a fine-tuned model of the tenant can be deleted here."))
    name = row.model.name
    if adapter_delete(name=name, tenant_id=request.tenant.id, actor=actor_of(request.user)):
        messages.success(request, gettext("The model %(name)s was deleted.") % {"name": name})
    return redirect("console:models", request.tenant.slug)
