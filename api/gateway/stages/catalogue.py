"""The model catalogue: served models by name and alias, their visibility, and the workers that serve them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from api.openai.errors.base import printable
from api.openai.errors.parameters import ModelNotFound, UnsupportedModel
from api.openai.errors.retry_after import NO_WORKER_RETRY_S, retry_after
from api.openai.errors.service import CoordinationUnavailable, NoWorkerAvailable
from inference_worker.client.interface import EngineClient, TransportError
from inference_worker.client.routing import is_usable, offers
from inference_worker.protocol.messages import Heartbeat, Operation
from inference_worker.protocol.operations import OPERATION_SPECS
from inference_worker.registry.selectors import CatalogueEntry

ReadCatalogue = Callable[[], Awaitable["Catalogue"]]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All enabled models, and an index of their names and aliases."""

    entries: Sequence[CatalogueEntry]
    by_name: Mapping[str, CatalogueEntry]

    @classmethod
    def from_entries(cls, entries: Iterable[CatalogueEntry]) -> Catalogue:
        """Index the registry's entries. A model's own name precedes another model's alias."""
        sorted_entries = tuple(sorted(entries, key=lambda entry: entry.name))
        by_name = {alias: entry for entry in sorted_entries for alias in entry.aliases}
        by_name.update({entry.name: entry for entry in sorted_entries})
        return cls(sorted_entries, by_name)

    def resolve(self, model: str, tenant_id: str) -> CatalogueEntry:
        """Return the model of this name or alias. Raises ModelNotFound if it is unknown or invisible."""
        entry = self.by_name.get(model)
        if entry is None or not is_visible(entry, tenant_id):
            raise ModelNotFound(model=printable(model), param="model")
        return entry

    def servable(self, tenant_id: str, workers: Iterable[Heartbeat]) -> list[CatalogueEntry]:
        """Return the models that the tenant may use and a ready worker serves, by name."""
        served_names = {name for worker in workers if is_usable(worker) for name in worker.models}
        return [
            entry for entry in self.entries if entry.name in served_names and is_visible(entry, tenant_id)
        ]


async def find_workers(
    client: EngineClient, entry: CatalogueEntry, operation: Operation
) -> Sequence[Heartbeat]:
    """Return the live workers, at least one of which is ready for this operation on the model.

    Raises ApiError. Checked before anything is recorded, so a request without a worker costs no durable
    fact.
    """
    workers = client.workers()
    if not any(offers(worker, operation) for worker in _ready_workers(entry, workers)):
        try:
            workers = await client.workers_now()
        except TransportError:
            raise CoordinationUnavailable() from None
    _require_operation(entry, operation, workers)
    return workers


def _ready_workers(entry: CatalogueEntry, workers: Iterable[Heartbeat]) -> list[Heartbeat]:
    return [worker for worker in workers if entry.name in worker.models and is_usable(worker)]


def _require_operation(entry: CatalogueEntry, operation: Operation, workers: Iterable[Heartbeat]) -> None:
    """Raise ApiError unless a ready worker of the model has the operation."""
    ready = _ready_workers(entry, workers)
    if not ready:
        raise NoWorkerAvailable(headers=retry_after(NO_WORKER_RETRY_S))
    if any(offers(worker, operation) for worker in ready):
        return
    alternatives = [_endpoint(other) for other in Operation if any(offers(worker, other) for worker in ready)]
    raise UnsupportedModel(
        param="model",
        kind=OPERATION_SPECS[operation].model_kind,
        endpoint=_endpoint(operation),
        others=", ".join(alternatives) or "none",
    )


def _endpoint(operation: Operation) -> str:
    return OPERATION_SPECS[operation].path.removeprefix("/")


def model_context_tokens(entry: CatalogueEntry, workers: Iterable[Heartbeat]) -> int:
    """Return the longest context of a model in tokens, 0 if unknown.

    The workers' figure, which their engines enforce, takes precedence over the registry's.
    """
    reported = (worker.max_model_len for worker in workers if entry.name in worker.models)
    return max(reported, default=0) or entry.max_model_len or 0


def is_visible(entry: CatalogueEntry, tenant_id: str) -> bool:
    """Return whether a tenant may use a model."""
    return entry.public or tenant_id in entry.tenant_ids
