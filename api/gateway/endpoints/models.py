"""``GET /v1/models`` and ``GET /v1/models/{id}``: the models that a key may use now."""

from __future__ import annotations

import json
from dataclasses import dataclass

from api.gateway.http.answer import Answer
from api.gateway.http.disconnect import Receive
from api.gateway.http.exchange import Exchange
from api.gateway.stages.authenticate import FindPrincipal
from api.gateway.stages.authorize import authorize
from api.gateway.stages.catalogue import ReadCatalogue
from api.openai.errors.base import printable
from api.openai.errors.parameters import ModelNotFound
from inference_worker.client.interface import EngineClient
from inference_worker.registry.selectors import CatalogueEntry


@dataclass(frozen=True, slots=True)
class ModelEndpoints:
    """Lists models that are visible to the tenant and served by a ready worker."""

    client: EngineClient
    find_principal: FindPrincipal
    read_catalogue: ReadCatalogue

    async def list(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        """``GET /v1/models``."""
        await authorize(exchange, self.find_principal)
        catalogue = await self.read_catalogue()
        entries = catalogue.servable(exchange.tenant_id, self.client.workers())
        body = {"object": "list", "data": [model_object(entry) for entry in entries]}
        await answer.json(json.dumps(body).encode())

    async def retrieve(self, exchange: Exchange, _: Receive, answer: Answer) -> None:
        """``GET /v1/models/{id}``, by name or alias. A model that the list omits is not found."""
        await authorize(exchange, self.find_principal)
        catalogue = await self.read_catalogue()
        name = exchange.path_values["model"]
        entry = catalogue.resolve(name, exchange.tenant_id)
        if entry not in catalogue.servable(exchange.tenant_id, self.client.workers()):
            raise ModelNotFound(model=printable(name), param="model")
        await answer.json(json.dumps(model_object(entry)).encode())


def model_object(entry: CatalogueEntry) -> dict[str, object]:
    """Return a model in OpenAI's format."""
    return {"id": entry.name, "object": "model", "created": entry.created, "owned_by": entry.owned_by}
