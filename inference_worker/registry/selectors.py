"""Queries of the registry."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, OuterRef, Q, QuerySet

from inference_worker.protocol.messages import AdapterRef
from inference_worker.protocol.prices import FREE, Prices
from inference_worker.registry.models import ModelAlias, ModelGrant, ServedModel, Visibility

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    class _Lists(TypedDict):
        alias_names: list[str]
        granted_ids: list[uuid.UUID]

    RegisteredModel: TypeAlias = WithAnnotations[ServedModel, _Lists]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """An enabled model as gateways see it.

    ``created`` is in Unix seconds and ``max_model_len`` in tokens. ``tenant_ids`` is ignored if ``public``.
    ``adapter``: the weights of an adapter, without their address; None for a model of the workers.
    ``owner_id``: the tenant that may delete it. An adapter has the prices of its base model.
    """

    name: str
    aliases: tuple[str, ...]
    max_model_len: int | None
    owned_by: str
    created: int
    public: bool
    tenant_ids: frozenset[str]
    adapter: AdapterRef | None = None
    owner_id: str | None = None
    prices: Prices = FREE


def registered_models() -> QuerySet[RegisteredModel]:
    """Return all models, including disabled ones, with the lists ``alias_names`` and ``granted_ids``."""
    aliases = ModelAlias.objects.filter(model=OuterRef("pk")).order_by("alias").values("alias")
    grants = ModelGrant.objects.filter(model=OuterRef("pk")).values("tenant_id")
    return (
        ServedModel.objects.annotate(alias_names=ArraySubquery(aliases), granted_ids=ArraySubquery(grants))
        .order_by("name")
        .select_related("adapter__base")
    )


def visible_to(tenant_ids: Collection[uuid.UUID] | None) -> Q:
    """Return the condition of the models that one of the tenants may see; None: of all models."""
    if tenant_ids is None:
        return Q()
    grants = ModelGrant.objects.filter(model=OuterRef("pk"), tenant_id__in=tenant_ids)
    return Q(visibility=Visibility.PUBLIC) | Q(Exists(grants))


def catalogue() -> tuple[CatalogueEntry, ...]:
    """Return every enabled model, ordered by name, in one query. An adapter needs its base model enabled."""
    return tuple(
        CatalogueEntry(
            name=model.name,
            aliases=tuple(model.alias_names),
            max_model_len=model.max_model_len,
            owned_by=model.owned_by,
            created=int(model.created_at.timestamp()),
            public=model.visibility == Visibility.PUBLIC,
            tenant_ids=frozenset(str(tenant_id) for tenant_id in model.granted_ids),
            adapter=_adapter_ref(model),
            owner_id=str(model.adapter.tenant_id) if hasattr(model, "adapter") else None,
            prices=model_prices(model),
        )
        for model in registered_models().filter(enabled=True).exclude(adapter__base__enabled=False)
    )


def _adapter_ref(model: ServedModel) -> AdapterRef | None:
    if not hasattr(model, "adapter"):
        return None
    adapter = model.adapter
    return AdapterRef(name=model.name, base_model=adapter.base.name, sha256=adapter.sha256, rank=adapter.rank)


def priced_model(model: ServedModel) -> ServedModel:
    """Return the model whose prices apply to ``model``: for an adapter its base model."""
    return model.adapter.base if hasattr(model, "adapter") else model


def model_prices(model: ServedModel) -> Prices:
    """Return the prices that requests to the model cost."""
    model = priced_model(model)
    cached_price = model.prompt_price if model.cached_price is None else model.cached_price
    return Prices(prompt=model.prompt_price, cached=cached_price, completion=model.completion_price)


def model_names() -> list[str]:
    """Return the names of all models, in order."""
    return list(ServedModel.objects.order_by("name").values_list("name", flat=True))
