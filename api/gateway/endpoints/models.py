"""``GET /v1/models`` and ``GET /v1/models/{id}``: what a key may use now."""

from __future__ import annotations

import json
from collections.abc import Iterable

from api.gateway.stages.catalogue import Catalogue
from api.openai.errors.base import printable
from api.openai.errors.parameters import ModelNotFound
from inference_worker.protocol.messages import Heartbeat
from inference_worker.registry.selectors import CatalogueEntry


def model_object(entry: CatalogueEntry) -> dict[str, object]:
    """A model as the OpenAI API shows it."""
    return {"id": entry.name, "object": "model", "created": entry.created, "owned_by": entry.owned_by}


def model_list(catalogue: Catalogue, tenant_id: str, workers: Iterable[Heartbeat]) -> bytes:
    """The JSON of all models that the tenant may use and a ready worker serves."""
    data = [model_object(entry) for entry in catalogue.servable(tenant_id, workers)]
    return json.dumps({"object": "list", "data": data}).encode()


def model_detail(catalogue: Catalogue, name: str, tenant_id: str, workers: Iterable[Heartbeat]) -> bytes:
    """The JSON of one model, by name or alias. Raises ApiError for one that the list leaves out."""
    entry = catalogue.resolve(name, tenant_id)
    if entry not in catalogue.servable(tenant_id, workers):
        raise ModelNotFound(model=printable(name), param="model")
    return json.dumps(model_object(entry)).encode()
