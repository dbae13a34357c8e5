"""The playground: two panes with one prompt, streamed through the public API with a short-lived key."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.http import HttpResponse, JsonResponse
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST, require_safe

from api.console.access import TenantRequest, has_role, tenant_page
from api.console.job_data.first_prompt import FirstPrompt, first_prompt
from api.console.rendering import json_response, page
from api.console.serving.models import ModelRow, lineage, model_rows
from api.openai.errors.catalogue import CATALOGUE
from backoffice.admin_base import actor_of
from tenants.choices import Role
from tenants.keys.playground import VALID_FOR, playground_key_renew
from tenants.members.roles import can_use

PARAMETERS = {"temperature": "", "top_p": "", "max_tokens": "512", "seed": ""}


@tenant_page()
@require_safe
def playground(request: TenantRequest) -> HttpResponse:
    """Show the playground; the browser sends the prompt to the API itself."""
    rows = model_rows(request.tenant.id)
    names = [row.model.name for row in rows]
    first = next((row.model.name for row in rows if row.readiness.is_ready), names[0] if names else "")
    models = {
        "a": _known_name(request.GET.get("a", first), names),
        "b": _known_name(request.GET.get("b", ""), names),
    }
    context = {
        "rows": rows,
        "panes": [{"id": pane, "model": name} for pane, name in models.items()],
        "unknown": [
            name for name in (request.GET.get("a"), request.GET.get("b")) if name and name not in names
        ],
        **_values(request, rows, set(models.values())),
        "can_send": can_use(request.role) and request.tenant.active,
        "data": {
            "models": {row.model.name: _model_data(row) for row in rows},
            "remedies": {code: error.fix.replace("`", "") for code, error in CATALOGUE.items()},
            "baseUrl": request.build_absolute_uri("/v1"),
        },
    }
    return page(
        request, "console/playground/page.html", context, section="playground", title=gettext("Playground")
    )


def _known_name(name: str, names: list[str]) -> str:
    return name if name in names else ""


def _values(request: TenantRequest, rows: list[ModelRow], names: set[str]) -> dict[str, object]:
    """Return the values of the form: those of the address, else the first prompt of a chosen model's data."""
    offer = None if "p" in request.GET else _offered_prompt(request, rows, names)
    return {
        "offer": offer,
        "prompt": offer.text if offer else request.GET.get("p", ""),
        "system": request.GET.get("s", offer.system if offer else ""),
        "parameters": {name: request.GET.get(name, default) for name, default in PARAMETERS.items()},
        "has_parameters": any(name in request.GET for name in PARAMETERS),
    }


def _offered_prompt(request: TenantRequest, rows: list[ModelRow], names: set[str]) -> FirstPrompt | None:
    """Return the first prompt of the data of a chosen model, for those who may read files."""
    if not has_role(request.role, Role.MEMBER):
        return None
    origins = [lineage(row.model, request.tenant.id) for row in rows if row.model.name in names]
    jobs = [origin.job for origin in origins if origin is not None and origin.job is not None]
    return next(filter(None, map(first_prompt, jobs)), None)


def _model_data(row: ModelRow) -> dict[str, object]:
    prices = {"prompt": row.prices.prompt, "cached": row.prices.cached, "completion": row.prices.completion}
    return {**row.as_json(), "prices": prices}


@tenant_page()
@require_POST
@sensitive_variables("secret")
def playground_key(request: TenantRequest) -> JsonResponse:
    """Return a key for this page that is valid for minutes, and ends the previous one."""
    try:
        key, secret = playground_key_renew(
            tenant=request.tenant, user=request.user, actor=actor_of(request.user)
        )
    except ValidationError as error:
        return JsonResponse({"message": " ".join(error.messages)}, status=422)
    body = {"secret": secret, "prefix": key.prefix, "valid_s": int(VALID_FOR.total_seconds())}
    return json_response(body)
