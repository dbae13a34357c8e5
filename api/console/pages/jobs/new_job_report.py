"""The report on the file in the form of a new job: tokens, samples, and estimates for its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from api.console.access import TenantRequest, tenant_page
from api.console.job_data.dataset_checks import Figures, ReportError, file_report
from api.console.job_data.job_form import Body, request_body
from api.console.job_data.learning import SETTINGS_FOR_FEW_EXAMPLES, has_few_examples
from api.console.pages.jobs.new_job import offered_models, typed_values
from api.console.snippets import EXTENSION
from tenants.choices import Role
from tenants.files.models import StoredFile
from tenants.files.selectors import file_find
from training.choices import JobStatus
from training.costs import training_cost
from training.datasets.report import DatasetReport, RunFigures
from training.engine.spec import TrainingOptions
from training.jobs.past_runs import PastRun, latest_run
from training.jobs.selectors import training_price
from training.models import FineTuningJob
from training.requests.checks.request import HYPERPARAMETER_BOUNDS
from training.requests.hyperparameters import resolve
from training.requests.job_request import DEFAULT_WORKER_CLASS
from training.requests.memory_estimates import UNKNOWN_DEVICE


@tenant_page(reads=Role.MEMBER)
@require_POST
def job_report(request: TenantRequest) -> HttpResponse:
    """Return the report on the chosen file in tokens of the chosen model, samples and an estimate."""
    values = typed_values(request.POST)
    file = file_find(file_id=values["training_file"], tenant_id=request.tenant.id)
    if file is None:
        return render(request, "console/jobs/parts/new_report.html", {})
    if values["model"] not in offered_models(request):
        values["model"] = ""  # prices and speeds of other models are not for this tenant
    try:
        context = _report(file, values)
    except ReportError as error:
        context = {"failure": str(error)}
    return render(request, "console/jobs/parts/new_report.html", {"file": file, **context})


def _report(file: StoredFile, values: Mapping[str, str]) -> dict[str, Any]:
    body = request_body(values)
    method = body["method"]["type"] if body["method"]["type"] in ("supervised", "dpo") else "supervised"
    options = _options(body)
    examples = int((file.dataset_report or {}).get("examples") or 1)
    requested_rate = _learning_rate(body)
    run = resolve(
        method=method,
        hyperparameters=_allowed(body["method"].get(method, {}).get("hyperparameters", {})),
        options={"adapter": options.adapter, "learning_rate": requested_rate},
        examples=examples,
        threads=None,
    )
    past_run = latest_run(values["model"], values["worker_class"] or DEFAULT_WORKER_CLASS)
    speed = past_run.tokens_per_s if past_run else None
    figures = Figures(
        method,
        RunFigures(epochs=run.n_epochs, batch_size=run.batch_size, tokens_per_s=speed),
        options.max_length,
    )
    device = past_run.device if past_run else UNKNOWN_DEVICE
    report, samples = file_report(file, values["model"], figures, options, device)
    total_tokens = report.estimate.total_tokens if report.estimate else 0
    price = training_price(values["model"])
    needs_other_settings = requested_rate is None and has_few_examples(method, options.adapter, examples)
    return {
        "report": msgspec.to_builtins(report),
        "samples": samples,
        "estimate": report.estimate,
        **_duration(report, past_run),
        "epochs": run.n_epochs,
        "batch_size": run.batch_size,
        "learning_rate": run.learning_rate,
        "proposed_settings": SETTINGS_FOR_FEW_EXAMPLES if needs_other_settings else None,
        "cost_microusd": training_cost(total_tokens, price) if price else None,
        "queued": FineTuningJob.objects.across_tenants().filter(status=JobStatus.QUEUED).count(),
    }


def _duration(report: DatasetReport, past_run: PastRun | None) -> dict[str, float | None]:
    """Return the estimated seconds of the whole job, and of its phases other than training."""
    training_s = report.estimate.duration_s if report.estimate else None
    overhead_s = past_run.overhead_s if past_run else None
    return {
        "duration_s": None if training_s is None else training_s + (overhead_s or 0.0),
        "overhead_s": overhead_s,
    }


def _options(body: Body) -> TrainingOptions:
    """Return the options if they are valid, else the defaults: the review reports the faults."""
    fields = set(TrainingOptions.__struct_fields__)
    values = {name: value for name, value in body.get(EXTENSION, {}).items() if name in fields}
    try:
        return msgspec.convert(values, TrainingOptions)
    except msgspec.ValidationError:
        return TrainingOptions()


def _learning_rate(body: Body) -> float | None:
    value = body.get(EXTENSION, {}).get("learning_rate")
    return value if isinstance(value, int | float) and value > 0 else None


def _allowed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers within their bounds. The others count as not set: the review reports them."""
    return {name: value for name, value in values.items() if _is_allowed(name, value)}


def _is_allowed(name: str, value: object) -> bool:
    lowest, highest = HYPERPARAMETER_BOUNDS[name]
    return isinstance(value, int | float) and lowest <= value <= highest
