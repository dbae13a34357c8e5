"""Routes of models."""

from __future__ import annotations

from collections.abc import Iterator

from api.gateway.http.url_table import Route, RouteDoc
from api.openai.errors.fine_tuning import ModelNotDeletable
from api.openai.errors.models import ModelNotFound
from api.openai.schemas.response_bodies.resources import Model, ModelDeleted, ModelList
from tenants.choices import Scope

READ_MODELS = (Scope.MODELS_READ.value, Scope.INFERENCE.value)


def model_routes() -> Iterator[Route]:
    """Return the routes of models."""
    yield Route(
        "GET",
        "/v1/models",
        lambda endpoints: endpoints.models.list,
        RouteDoc("List the models that are available to this key.", ModelList),
        READ_MODELS,
    )
    yield Route(
        "GET",
        "/v1/models/{model:path}",
        lambda endpoints: endpoints.models.retrieve,
        RouteDoc("Retrieve a model by its name or an alias.", Model, errors=frozenset({ModelNotFound})),
        READ_MODELS,
    )
    yield Route(
        "DELETE",
        "/v1/models/{model:path}",
        lambda endpoints: endpoints.models.delete,
        RouteDoc(
            "Delete a fine-tuned model of this tenant.",
            ModelDeleted,
            errors=frozenset({ModelNotFound, ModelNotDeletable}),
        ),
        (Scope.FINE_TUNING.value,),
        query={},
    )
