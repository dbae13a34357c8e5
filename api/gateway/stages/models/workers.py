"""The workers of a model: those that are ready for an operation, and what they report about the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from api.openai.errors.models import UnsupportedModel
from api.openai.errors.retry_after import NO_WORKER_RETRY_S, retry_after
from api.openai.errors.service import NoWorkerAvailable, RedisUnavailable
from api.openai.validation.engine_request import EngineRequest
from api.openai.validation.prompt_bound import UNKNOWN_TEMPLATE, TemplateSize
from inference_worker.client.interface import EngineClient, TransportError
from inference_worker.client.routing import is_usable, serves, supports
from inference_worker.protocol.messages import Heartbeat, Operation
from inference_worker.protocol.operations import OPERATION_SPECS
from inference_worker.registry.selectors import CatalogueEntry

# vLLM sets both from the effort.
EFFORT_VARIABLES = frozenset({"reasoning_effort", "enable_thinking"})


async def require_workers(
    client: EngineClient, entry: CatalogueEntry, operation: Operation
) -> Sequence[Heartbeat]:
    """Return the live workers, at least one of which is ready for this operation on the model.

    Raises ApiError. Checked before anything is recorded, so a request without a worker costs no durable
    fact.
    """
    workers = client.workers()
    if not any(supports(worker, operation) for worker in _ready_workers(entry, workers)):
        try:
            workers = await client.workers_now()
        except TransportError:
            raise RedisUnavailable() from None
    _require_operation(entry, operation, workers)
    return workers


def _ready_workers(entry: CatalogueEntry, workers: Iterable[Heartbeat]) -> list[Heartbeat]:
    return [worker for worker in workers if is_served_by(entry, worker) and is_usable(worker)]


def is_served_by(entry: CatalogueEntry, worker: Heartbeat) -> bool:
    """Return whether a worker has a model, or has its base model and can load it as an adapter."""
    return serves(worker, entry.name, entry.adapter)


def _require_operation(entry: CatalogueEntry, operation: Operation, workers: Iterable[Heartbeat]) -> None:
    """Raise ApiError unless a ready worker of the model has the operation."""
    ready = _ready_workers(entry, workers)
    if not ready:
        raise NoWorkerAvailable(headers=retry_after(NO_WORKER_RETRY_S))
    if any(supports(worker, operation) for worker in ready):
        return
    alternatives = [
        _endpoint(other) for other in Operation if any(supports(worker, other) for worker in ready)
    ]
    raise UnsupportedModel(
        param="model",
        endpoint=_endpoint(operation),
        others=", ".join(alternatives) or "none",
    )


def _endpoint(operation: Operation) -> str:
    return OPERATION_SPECS[operation].path.removeprefix("/")


def model_context_tokens(entry: CatalogueEntry, workers: Iterable[Heartbeat]) -> int:
    """Return the longest context of a model in tokens, 0 if unknown.

    The workers' figure, which their engines enforce, takes precedence over the registry's.
    """
    lengths = (worker.max_model_len for worker in workers if is_served_by(entry, worker))
    return max(lengths, default=0) or entry.max_model_len or 0


def model_template_size(entry: CatalogueEntry, workers: Iterable[Heartbeat]) -> TemplateSize:
    """Return the size of the longest chat template of a model, as far as all its workers report it."""
    serving = [worker for worker in workers if is_served_by(entry, worker)]
    return TemplateSize(
        _longest([worker.template_tokens for worker in serving], UNKNOWN_TEMPLATE.tokens),
        _longest([worker.template_option_tokens for worker in serving], UNKNOWN_TEMPLATE.option_tokens),
    )


def _longest(counts: Sequence[int | None], default: int) -> int:
    """Return the highest count, at least ``default`` if one is unknown."""
    return max((default if count is None else count for count in counts), default=default)


def model_sampling_defaults(entry: CatalogueEntry, workers: Iterable[Heartbeat]) -> Mapping[str, float]:
    """Return the model's own sampling parameters, empty if none of its ready workers reports any."""
    reports = (worker.sampling_defaults for worker in _ready_workers(entry, workers))
    return next((defaults for defaults in reports if defaults), {})


def names_without_effect(
    request: EngineRequest, entry: CatalogueEntry, workers: Iterable[Heartbeat]
) -> tuple[str, ...]:
    """Return the parameters that have no effect on this service, or on a template without their variables."""
    names = request.names_without_effect
    if "reasoning_effort" not in request.fields:
        return names
    templates = [worker.template_variables for worker in _ready_workers(entry, workers)]
    if templates and all(
        template is not None and EFFORT_VARIABLES.isdisjoint(template) for template in templates
    ):
        names = (*names, request.effort_name)
    return tuple(sorted(names))
