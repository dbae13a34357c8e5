"""Which models there are, under which names, and who may see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from api.gateway.stages.limits import NO_WORKER_RETRY_S
from api.openai.errors.base import printable
from api.openai.errors.parameters import ModelNotFound, UnsupportedModel
from api.openai.errors.service import CoordinationUnavailable, NoWorkerAvailable
from inference_worker.client.interface import EngineClient, TransportError
from inference_worker.client.worker_directory import is_usable, offers
from inference_worker.protocol.messages import Heartbeat, Operation
from inference_worker.registry.selectors import CatalogueEntry

KINDS: Mapping[Operation, str] = {
    Operation.CHAT_COMPLETIONS: "a chat",
    Operation.COMPLETIONS: "a completion",
    Operation.EMBEDDINGS: "an embedding",
    Operation.TOKENIZE: "a tokenizing",
    Operation.DETOKENIZE: "a tokenizing",
}
ENDPOINTS: Mapping[Operation, str] = {
    Operation.CHAT_COMPLETIONS: "v1/chat/completions",
    Operation.COMPLETIONS: "v1/completions",
    Operation.EMBEDDINGS: "v1/embeddings",
    Operation.TOKENIZE: "tokenize",
    Operation.DETOKENIZE: "detokenize",
}

ReadCatalogue = Callable[[], Awaitable["Catalogue"]]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All enabled models by every name they answer to."""

    entries: Sequence[CatalogueEntry]
    by_name: Mapping[str, CatalogueEntry]

    def resolve(self, model: str, tenant_id: str) -> CatalogueEntry:
        """The model of this name or alias. An unknown and an invisible one raise the same ApiError."""
        entry = self.by_name.get(model)
        if entry is None or not visible(entry, tenant_id):
            raise ModelNotFound(model=printable(model), param="model")
        return entry

    def servable(self, tenant_id: str, workers: Iterable[Heartbeat]) -> list[CatalogueEntry]:
        """What a tenant may use and a ready worker serves now, by name."""
        served = {name for worker in workers if is_usable(worker) for name in worker.models}
        return [entry for entry in self.entries if entry.name in served and visible(entry, tenant_id)]


def build(entries: Iterable[CatalogueEntry]) -> Catalogue:
    """Index the registry's entries. A model's own name goes before another's alias."""
    listed = tuple(sorted(entries, key=lambda entry: entry.name))
    by_name = {alias: entry for entry in listed for alias in entry.aliases}
    by_name.update({entry.name: entry for entry in listed})
    return Catalogue(listed, by_name)


async def able_workers(
    client: EngineClient, entry: CatalogueEntry, operation: Operation
) -> Sequence[Heartbeat]:
    """The live workers, of which one at least is ready to do this with the model. Raises ApiError.

    Asked before anything is written down: load that finds no worker costs no durable fact of a start.
    """
    workers = client.workers()
    if not any(offers(worker, operation) for worker in ready_workers(entry, workers)):
        try:
            workers = await client.workers_now()
        except TransportError:
            raise CoordinationUnavailable() from None
    require_operation(entry, operation, workers)
    return workers


def ready_workers(entry: CatalogueEntry, workers: Iterable[Heartbeat]) -> list[Heartbeat]:
    """Those of the workers that take requests for the model."""
    return [worker for worker in workers if entry.name in worker.models and is_usable(worker)]


def require_operation(entry: CatalogueEntry, operation: Operation, workers: Iterable[Heartbeat]) -> None:
    """Raise ApiError if no worker of the model is ready, or none that is can do this."""
    ready = ready_workers(entry, workers)
    if not ready:
        raise NoWorkerAvailable(headers={"retry-after": str(NO_WORKER_RETRY_S)})
    if any(offers(worker, operation) for worker in ready):
        return
    others = [ENDPOINTS[other] for other in Operation if any(offers(worker, other) for worker in ready)]
    raise UnsupportedModel(
        param="model",
        kind=KINDS[operation],
        endpoint=ENDPOINTS[operation],
        others=", ".join(others) or "none",
    )


def context_length(entry: CatalogueEntry, workers: Iterable[Heartbeat]) -> int:
    """The longest context of a model in tokens: the workers' word, which their engines hold texts to as well,
    else the registry's; 0 if nobody knows.
    """
    reported = (worker.max_model_len for worker in workers if entry.name in worker.models)
    return max(reported, default=0) or entry.max_model_len or 0


def visible(entry: CatalogueEntry, tenant_id: str) -> bool:
    """Whether a tenant may use a model."""
    return entry.public or tenant_id in entry.tenant_ids
