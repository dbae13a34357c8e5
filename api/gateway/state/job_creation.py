"""Creation of a fine-tuning job, with the reasons to refuse it as errors of the API."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from api.gateway.state.job_objects import job_object
from api.job_errors import budget_error
from api.openai.errors.base import ApiError, printable
from api.openai.errors.fine_tuning import (
    DatasetFileNotFound,
    InvalidDataset,
    ModelNotTrainable,
    NotEnoughMemory,
    TooManyJobs,
    WrongDatasetFormat,
    WrongFilePurpose,
)
from api.openai.errors.parameters import InvalidValue, UnsupportedValue
from tenants.keys.selectors import KeyPrincipal
from training.jobs import services
from training.requests import refusals
from training.requests.job_request import JobRequest
from training.requests.refusals import FileRefusal, JobRefusedError, Refusal


def create_job(
    request: JobRequest,
    principal: KeyPrincipal,
    engine_rank: int | None,
    usable_models: Collection[str],
    correlation_id: str,
) -> dict[str, Any]:
    """Create the job and return it. Raises ApiError.

    ``engine_rank`` and ``usable_models``: as in ``services.job_create``.
    """
    try:
        job = services.job_create(
            request,
            tenant_id=principal.tenant_id,
            actor=principal.actor,
            engine_rank=engine_rank,
            usable_models=usable_models,
            correlation_id=correlation_id,
        )
    except JobRefusedError as error:
        raise api_error(error.refusal) from None
    return job_object(job, principal.tenant_slug)


def api_error(refusal: Refusal) -> ApiError:
    """Return the error of the API for a reason to refuse a job."""
    match refusal:
        case refusals.ModelNotTrainable(model, reason):
            return ModelNotTrainable(param=refusal.param, model=model, reason=reason)
        case refusals.InvalidValue(param, reason):
            return InvalidValue(param=param, reason=reason)
        case refusals.UnsupportedValue(param, value, reason):
            return UnsupportedValue(param=param, value=printable(f"'{value}'"), reason=reason)
        case refusals.MemoryShortage(needed, available):
            return NotEnoughMemory(param=refusal.param, needed=needed, available=available)
        case refusals.TooManyJobs(limit):
            return TooManyJobs(limit=limit)
        case refusals.BudgetShortage():
            return budget_error(refusal)
        case _:
            return _file_error(refusal)


def _file_error(refusal: FileRefusal) -> ApiError:
    param, file_id = refusal.param, printable(refusal.file_id)
    match refusal:
        case refusals.FileMissing():
            return DatasetFileNotFound(param=param, file_id=file_id)
        case refusals.WrongPurpose(purpose=purpose):
            return WrongFilePurpose(param=param, file_id=file_id, purpose=purpose)
        case refusals.WrongFormat(_, _, file_format, method, expected):
            return WrongDatasetFormat(
                param=param, file_id=file_id, format=file_format, method=method, expected=expected
            )
        case refusals.UnusableDataset(reason=reason):
            return InvalidDataset(param=param, file_id=file_id, reason=reason)
