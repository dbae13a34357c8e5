"""Registered models and workers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from api.admin_api.access import OPERATE, READ
from api.admin_api.base import AdminView, answer
from api.admin_api.callers import Caller
from api.admin_api.document import IDEMPOTENCY_KEY, IF_MATCH, operation
from api.admin_api.idempotency import idempotent
from api.admin_api.paging import page
from api.admin_api.schemas import models as schemas
from api.admin_api.schemas.base import Deleted, Query
from api.admin_api.versions import check_version, etag
from api.openai.errors.administration import ObjectNotFound
from api.openai.errors.base import printable
from api.openai.errors.parameters import InvalidValue
from api.openai.errors.service import RedisUnavailable
from inference_worker.registry import services
from inference_worker.registry.adapter_services import adapter_delete
from inference_worker.registry.models import ServedModel
from inference_worker.registry.readiness import model_readiness
from inference_worker.registry.selectors import priced_model, registered_models, visible_to
from inference_worker.registry.worker_sightings import WorkerSighting, platform_workers
from tenants.selectors import tenant_names

if TYPE_CHECKING:
    from inference_worker.registry.selectors import RegisteredModel


class _ModelView(AdminView):
    """The base of the views of models."""

    access = {}

    @cached_property
    def tenant_slugs(self) -> Mapping[uuid.UUID, str]:
        """The short names of all tenants by id, read once per request."""
        return tenant_names()

    def visible(self) -> Any:
        """Return the models that the caller may see."""
        return visible_models(self.caller)

    def find(self, name: str) -> RegisteredModel:
        """Return a visible model. Raises ObjectNotFound."""
        model: RegisteredModel | None = self.visible().filter(name=name).first()
        if model is None:
            raise ObjectNotFound(kind="model", name=printable(name))
        return model

    def show(self, model: RegisteredModel, workers: Sequence[WorkerSighting] | None) -> schemas.Model:
        """Return a model as the caller may see it."""
        readiness = model_readiness(model, workers)
        slugs = self.tenant_slugs
        grants = [slugs[key] for key in model.granted_ids if key in slugs and self.caller.role(key)]
        is_operator = self.caller.is_operator
        price_source = priced_model(model)
        return schemas.Model.model_validate(
            {
                "name": model.name,
                "aliases": model.alias_names,
                "enabled": model.enabled,
                "visibility": model.visibility,
                "granted_to": sorted(grants),
                "max_model_len": model.max_model_len,
                "owned_by": model.owned_by,
                "source": model.source if is_operator else None,
                "base": model.adapter.base.name if hasattr(model, "adapter") else None,
                "prices": schemas.Prices(
                    prompt=price_source.prompt_price,
                    cached=price_source.cached_price,
                    completion=price_source.completion_price,
                    training=price_source.training_price,
                ),
                "readiness": schemas.Readiness(
                    state=readiness.state.value,
                    reason=readiness.reason(),
                    workers=[worker.worker_id for worker in readiness.workers],
                ),
                "created_at": model.created_at,
                "updated_at": model.updated_at,
            }
        )

    def one(self, name: str, status: int = 200) -> Response:
        """Return the answer that shows one model."""
        body = self.show(self.find(name), platform_workers())
        return answer(body, status, ETag=etag(body))


def visible_models(caller: Caller) -> Any:
    """Return the models that the caller may see: for tenants, public ones and those with a grant."""
    return registered_models().filter(visible_to(None if caller.is_operator else list(caller.roles)))


class ModelsView(_ModelView):
    """Registered models."""

    access = {"GET": READ, "POST": OPERATE}

    @operation("List models with their readiness", schemas.ModelList, query=schemas.ModelsQuery)
    def get(self, request: Request) -> Response:
        """List models."""
        query, rows = self.query(schemas.ModelsQuery), self.visible()
        if query.enabled is not None:
            rows = rows.filter(enabled=query.enabled)
        if query.visibility is not None:
            rows = rows.filter(visibility=query.visibility)
        workers = platform_workers()
        fields = page(rows, query, ["name"], lambda model: self.show(model, workers))
        return answer(schemas.ModelList(**fields))

    @operation(
        "Register a model",
        schemas.Model,
        status=201,
        body=schemas.NewModel,
        parameters=[IDEMPOTENCY_KEY],
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Register a model."""
        body = self.body(schemas.NewModel)
        with transaction.atomic():
            services.lock_names()
            if ServedModel.objects.filter(name=body.name).exists():
                raise InvalidValue(param="name", reason="a model of this name exists; change it with PATCH")
            _apply(body.name, body.changes(), self.caller.actor)
        return self.one(body.name, 201)


class ModelView(_ModelView):
    """One registered model. Slashes in its name are not escaped."""

    access = {"GET": READ, "PATCH": OPERATE, "DELETE": OPERATE}

    @operation("Get a model", schemas.Model)
    def get(self, request: Request, name: str) -> Response:
        """Return the model."""
        return self.one(name)

    @operation(
        "Change a model, its aliases, grants and prices",
        schemas.Model,
        body=schemas.ModelSettings,
        parameters=[IF_MATCH],
    )
    def patch(self, request: Request, name: str) -> Response:
        """Change the model."""
        body = self.body(schemas.ModelSettings)
        with transaction.atomic():
            services.lock_names()
            check_version(request, self.show(self.find(name), []))
            _apply(name, body.changes(), self.caller.actor)
        return self.one(name)

    @operation("Remove a model; an adapter with its weights", Deleted)
    def delete(self, request: Request, name: str) -> Response:
        """Remove the model."""
        self.find(name)
        try:
            if not adapter_delete(name=name, actor=self.caller.actor):
                services.model_remove(name=name, actor=self.caller.actor)
        except ServedModel.DoesNotExist:  # another request has removed it meanwhile
            raise ObjectNotFound(kind="model", name=printable(name)) from None
        return answer(Deleted(object="model", id=name))


def _apply(name: str, changes: dict[str, Any], actor: str) -> None:
    """Set a model's values, aliases and grants in one transaction."""
    changes.pop("name", None)
    aliases, granted_to = changes.pop("aliases", None), changes.pop("granted_to", None)
    prices = changes.pop("prices", None)
    if prices is not None:
        changes |= {f"{kind}_price": value for kind, value in prices.changes().items()}
    services.model_register(name=name, actor=actor, **changes)
    if aliases is not None:
        services.alias_set(name=name, aliases=aliases, actor=actor)
    if granted_to is not None:
        services.grant_set(name=name, tenant_ids=_tenant_ids(granted_to), actor=actor)


def _tenant_ids(slugs: Sequence[str]) -> list[uuid.UUID]:
    ids = {slug: tenant_id for tenant_id, slug in tenant_names().items()}
    for number, slug in enumerate(slugs):
        if slug not in ids:
            raise InvalidValue(param=f"granted_to[{number}]", reason=f"there is no tenant {printable(slug)}")
    return [ids[slug] for slug in slugs]


class WorkersView(AdminView):
    """Workers."""

    access = {"GET": READ}

    @operation("List the workers by their heartbeats", schemas.WorkerList, query=Query)
    def get(self, request: Request) -> Response:
        """List workers."""
        self.query(Query)
        names = None
        if not self.caller.is_operator:
            names = frozenset(visible_models(self.caller).values_list("name", flat=True))
        workers = platform_workers()
        if workers is None:
            raise RedisUnavailable()
        return answer(schemas.WorkerList(data=[_worker(worker, names) for worker in workers]))


def _worker(worker: WorkerSighting, names: frozenset[str] | None) -> schemas.Worker:
    heartbeat = worker.heartbeat
    models = heartbeat.models if heartbeat else ()
    return schemas.Worker(
        id=worker.worker_id,
        status=worker.status.value,
        seen_s=round(worker.seen_s, 3),
        models=[name for name in models if names is None or name in names],
        running=heartbeat.running if heartbeat else None,
        waiting=heartbeat.waiting if heartbeat else None,
        max_model_len=heartbeat.max_model_len if heartbeat else None,
        engine=heartbeat.engine if heartbeat else None,
        hardware=heartbeat.hardware if heartbeat else None,
        stage=heartbeat.stage if heartbeat else None,
        stage_s=heartbeat.stage_s if heartbeat else None,
    )
