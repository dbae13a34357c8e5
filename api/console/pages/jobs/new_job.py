"""A new job: the form with its files, models and hyperparameters, its review and its submission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST

from api.console.access import TenantRequest, tenant_page
from api.console.job_data.job_form import (
    FIELDS,
    SELECTS,
    Body,
    field_label,
    field_of,
    form_fields,
    request_body,
    values_of_job,
)
from api.console.rendering import page
from api.console.snippets import job_snippets
from api.openai.errors.base import ApiError
from api.openai.validation.fine_tuning import validate_fine_tuning_body
from backoffice.admin_base import actor_of
from inference_worker.registry.readiness import tenant_models
from inference_worker.registry.worker_sightings import platform_workers
from tenants.choices import Role
from tenants.files.models import Purpose
from tenants.files.selectors import files, largest_file_bytes
from training.jobs.services import job_create
from training.models import FineTuningJob
from training.requests.checks.base_model import highest_rank
from training.requests.checks.request import parse_options
from training.requests.checks.settings import check_settings
from training.requests.job_request import JobRequest
from training.requests.refusals import JobRefusedError

MAX_FILES = 200
MAX_VALUE_LENGTH = 500


@dataclass(frozen=True, slots=True)
class CheckedForm:
    """A checked form: the request, or errors by the names of the fields; "" is for the whole form."""

    body: Body
    request: JobRequest | None
    errors: Mapping[str, str]


@tenant_page(reads=Role.MEMBER)
@require_http_methods(["GET", "HEAD", "POST"])
def job_new(request: TenantRequest) -> HttpResponse:
    """Show the form, or create the job; after an error, the form is shown again with its input."""
    if request.method != "POST":
        return _form(request, _first_values(request), {})
    values = typed_values(request.POST)
    form = check(request, values)
    if form.request is None:
        return _form(request, values, form.errors, status=422)
    try:
        job = job_create(
            form.request,
            tenant_id=request.tenant.id,
            actor=actor_of(request.user),
            engine_rank=_engine_rank(form.request.base_model),
        )
    except JobRefusedError as error:
        refusal = error.refusal
        return _form(request, values, {field_of(refusal.param): refusal.message}, status=422)
    messages.success(request, gettext("The job is created."))
    return redirect("console:job", request.tenant.slug, job.id)


def check(request: TenantRequest, values: Mapping[str, str]) -> CheckedForm:
    """Check the typed values as the API does, apart from the files."""
    body = request_body(values)
    missing_fields = {name: gettext("Choose one.") for name in ("model", "training_file") if not body[name]}
    if missing_fields:
        return CheckedForm(body, None, missing_fields)
    if body["model"] not in offered_models(request):
        return CheckedForm(
            body, None, {"model": gettext("This model can't be fine-tuned. Choose one from the list.")}
        )
    try:
        job_request = validate_fine_tuning_body(body)
        options = parse_options(job_request)
        rank, limits = _engine_rank(job_request.base_model), settings.CYLLM
        check_settings(job_request, options, rank, limits, largest_file_bytes(request.tenant.id))
    except ApiError as error:
        return CheckedForm(body, None, {field_of(error.param): str(error.message)})
    except JobRefusedError as error:
        return CheckedForm(body, None, {field_of(error.refusal.param): error.refusal.message})
    return CheckedForm(body, job_request, {})


def offered_models(request: TenantRequest) -> list[str]:
    """Return the models that the tenant may use and that can be fine-tuned, by name."""
    trainable = settings.CYLLM.training_models
    models = tenant_models(request.tenant.id).filter(name__in=trainable, enabled=True).order_by("name")
    allowlist = request.tenant.limits().allowed_models
    return [
        model.name
        for model in models
        if not allowlist or not allowlist.isdisjoint((model.name, *model.alias_names))
    ]


def _engine_rank(model: str) -> int | None:
    """Return the highest rank that the live workers of a base model load; None if it is unknown."""
    workers = platform_workers()
    if workers is None:
        return None
    return highest_rank(
        model, [worker.heartbeat for worker in workers if worker.is_live and worker.heartbeat]
    )


def typed_values(data: Mapping[str, str]) -> dict[str, str]:
    """Return the values of all fields, cut to ``MAX_VALUE_LENGTH``; a field that was not sent is empty."""
    names = (*SELECTS, *(field.name for field in FIELDS))
    return {name: str(data.get(name, ""))[:MAX_VALUE_LENGTH].replace("\0", "") for name in names}


def _first_values(request: TenantRequest) -> dict[str, str]:
    """Return the initial values: those of the job to clone, or the file named in the query string."""
    source = request.GET.get("from", "").replace("\0", "")
    if source:
        job = FineTuningJob.objects.filter(tenant=request.tenant, id=source).first()
        if job is None:
            raise Http404
        return values_of_job(job)
    return {"training_file": request.GET.get("file", ""), "method": request.GET.get("method", "")}


def _form(
    request: TenantRequest, values: Mapping[str, str], errors: Mapping[str, str], status: int = 200
) -> HttpResponse:
    fields = form_fields(values, errors)
    advanced_fields = [field for field in fields if field.is_advanced]
    context = {
        "values": values,
        "errors": errors,
        "basic": [field for field in fields if not field.is_advanced],
        "advanced": advanced_fields,
        "advanced_open": any(field.value or field.error for field in advanced_fields),
        "datasets": _datasets(request),
        "models": offered_models(request),
        "source": request.GET.get("from", ""),
    }
    return page(
        request, "console/jobs/new.html", context, section="jobs", title=gettext("New job"), status=status
    )


def _datasets(request: TenantRequest) -> list[tuple[str, str]]:
    """Return id and label of the newest datasets. Labels are made once for both lists of the form."""
    datasets = files(tenant_id=request.tenant.id).filter(purpose=Purpose.FINE_TUNE)
    rows = datasets.order_by("-created_at", "-id").values_list(
        "id", "filename", "dataset_report__examples", "created_at"
    )
    word = gettext("examples")
    return [
        (file_id, f"{name} · {examples or 0:,} {word} · {timezone.localtime(created_at):%Y-%m-%d %H:%M}")
        for file_id, name, examples, created_at in rows[:MAX_FILES]
    ]


@tenant_page(reads=Role.MEMBER)
@require_POST
def job_review(request: TenantRequest) -> HttpResponse:
    """Return an HTML fragment: the errors of the form, and the request as JSON, curl and Python."""
    form = check(request, typed_values(request.POST))
    base_url = request.build_absolute_uri("/v1")
    context = {
        "errors": [(name, field_label(name), text) for name, text in form.errors.items()],
        "json": msgspec.json.format(msgspec.json.encode(form.body)).decode(),
        **job_snippets(base_url, form.body),
    }
    return render(request, "console/jobs/parts/review.html", context)
