"""Validation of requests for fine-tuning jobs against the API's own format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.openai.errors.parameters import InvalidValue
from api.openai.schemas.fine_tuning import FineTuningRequest, Hyperparameters, TrainingOptions
from api.openai.schemas.policies import wire_fields
from api.openai.validation.requests import parse_request
from api.openai.validation.rules import check_metadata_keys
from training.requests.job_request import DEFAULT_PRIORITY, DEFAULT_WORKER_CLASS, JobRequest

SUPERVISED, DPO = "supervised", "dpo"
_QUEUE_OPTIONS = frozenset({"priority", "worker_class"})


def validate_fine_tuning_body(body: Any) -> JobRequest:
    """Return the request for a job, its model as the client named it. Raises ApiError for the first fault."""
    request = parse_request(FineTuningRequest, body)
    method = _method(request)
    hyperparameters = _hyperparameters(request, method)
    _check_metadata(request.metadata or {})
    options = request.cyllm or TrainingOptions()
    fields = wire_fields(options)
    return JobRequest(
        base_model=request.model,
        training_file=request.training_file,
        validation_file=request.validation_file,
        method=method,
        suffix=request.suffix or "",
        hyperparameters=hyperparameters,
        options={name: value for name, value in fields.items() if name not in _QUEUE_OPTIONS},
        metadata=request.metadata or {},
        seed=request.seed,
        priority=DEFAULT_PRIORITY if options.priority is None else options.priority,
        worker_class=options.worker_class or DEFAULT_WORKER_CLASS,
    )


def _method(request: FineTuningRequest) -> str:
    """Return the method. Raises InvalidValue for the configuration of another one."""
    if request.method is None:
        return SUPERVISED
    for name in (SUPERVISED, DPO):
        if name != request.method.type and getattr(request.method, name) is not None:
            raise InvalidValue(param=f"method.{name}", reason=f"it requires the method '{name}'")
    return request.method.type


def _hyperparameters(request: FineTuningRequest, method: str) -> dict[str, int | float | str]:
    """Return the hyperparameters of both places, which must not differ. Raises InvalidValue."""
    values = _set_values(request.hyperparameters)
    configuration = getattr(request.method, method, None)
    if configuration is not None:
        for name, value in _set_values(configuration.hyperparameters).items():
            if values.setdefault(name, value) != value:
                reason = f"it differs from 'method.{method}.hyperparameters.{name}'; send one of them"
                raise InvalidValue(param=f"hyperparameters.{name}", reason=reason)
    return values


def _set_values(hyperparameters: Hyperparameters | None) -> dict[str, int | float | str]:
    return {} if hyperparameters is None else wire_fields(hyperparameters)


def _check_metadata(metadata: Mapping[str, str]) -> None:
    check_metadata_keys(metadata)
    if any("\0" in key + value for key, value in metadata.items()):
        raise InvalidValue(param="metadata", reason="it must not contain NUL characters")
