"""``GET /v1/models`` and ``GET /v1/models/{id}``: the models that a key may use now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.http.response_sender import ResponseSender
from api.gateway.stages.models.catalogue import Catalogue, ReadCatalogue, is_visible
from api.gateway.stages.models.workers import model_context_tokens
from api.gateway.state.object_storage import ObjectStorage
from api.openai.errors.base import printable
from api.openai.errors.fine_tuning import ModelNotDeletable
from api.openai.errors.models import ModelNotFound
from inference_worker.client.interface import EngineClient
from inference_worker.client.routing import is_usable
from inference_worker.protocol.messages import Heartbeat
from inference_worker.registry.adapter_services import adapter_delete, archive_discard
from inference_worker.registry.selectors import CatalogueEntry
from tenants.keys.selectors import KeyPrincipal

DELETE_TIMEOUT_S = 30.0  # it waits for concurrent changes of the registry


@dataclass(frozen=True, slots=True)
class ModelEndpoints:
    """Lists models that are visible to the key and served by a ready worker."""

    client: EngineClient
    read_catalogue: ReadCatalogue
    storage: ObjectStorage

    async def list(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``GET /v1/models``."""
        catalogue = await self.read_catalogue()
        workers = self.client.workers()
        entries = catalogue.servable(exchange.caller, workers)
        data = [_model_object(catalogue, entry, workers, exchange.caller) for entry in entries]
        body = {"object": "list", "data": data}
        await sender.json(json.dumps(body).encode())

    async def retrieve(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``GET /v1/models/{id}``, by name or alias. A model that the list omits is not found."""
        catalogue = await self.read_catalogue()
        name = exchange.path_values["model"]
        workers = self.client.workers()
        entry = catalogue.resolve(name, exchange.caller)
        if entry not in catalogue.servable(exchange.caller, workers):
            raise ModelNotFound(model=printable(name), param="model")
        body = _model_object(catalogue, entry, workers, exchange.caller)
        await sender.json(json.dumps(body).encode())

    async def delete(self, exchange: Exchange, _: Receive, sender: ResponseSender) -> None:
        """``DELETE /v1/models/{id}``: delete an adapter of the tenant, whether or not a worker serves it."""
        name = exchange.path_values["model"]
        entry = (await self.read_catalogue()).resolve(name, exchange.caller)
        if entry.owner_id != exchange.tenant_id:
            reason = "it is not a fine-tuned model of your tenant"
            raise ModelNotDeletable(model=printable(name), reason=reason)
        if entry.name != name:
            raise ModelNotDeletable(model=printable(name), reason=f"it is an alias of {entry.name}")
        actor = exchange.caller.actor
        tenant_id, digests = exchange.tenant_id, list[str]()
        delete = partial(adapter_delete, name=name, tenant_id=tenant_id, actor=actor, discard=digests.append)
        if not await self.storage.call(tenant_id, delete, timeout_s=DELETE_TIMEOUT_S):
            raise ModelNotFound(model=printable(name), param="model")
        await self.storage.discard(tenant_id, archive_discard, digests)
        body = {"id": name, "object": "model", "deleted": True}
        await sender.json(json.dumps(body).encode())


def _model_object(
    catalogue: Catalogue, entry: CatalogueEntry, workers: Sequence[Heartbeat], principal: KeyPrincipal
) -> dict[str, object]:
    """Return a model in OpenAI's format, with those vLLM extensions whose value is known."""
    body: dict[str, object] = {
        "id": entry.name,
        "object": "model",
        "created": entry.created,
        "owned_by": entry.owned_by,
    }
    if root := _root(catalogue, entry, workers, principal):
        body["root"] = root
    if context_tokens := model_context_tokens(entry, workers):
        body |= {"max_model_len": context_tokens, "context_length": context_tokens}
    return body


def _root(
    catalogue: Catalogue, entry: CatalogueEntry, workers: Iterable[Heartbeat], principal: KeyPrincipal
) -> str | None:
    """Return the base model of an adapter, or the model itself. None if the key must not see its name."""
    if entry.adapter is not None:
        return entry.adapter.base_model
    # A worker lists its base model first, then the adapters that it was started with.
    roots = (worker.models[0] for worker in workers if entry.name in worker.models and is_usable(worker))
    root = next(roots, None)
    if root is None or root == entry.name:
        return root
    base = catalogue.by_name.get(root)
    return root if base is not None and is_visible(base, principal) else None
