"""Queries of the registry."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, QuerySet

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
    """

    name: str
    aliases: tuple[str, ...]
    max_model_len: int | None
    owned_by: str
    created: int
    public: bool
    tenant_ids: frozenset[str]


def registered_models() -> QuerySet[RegisteredModel]:
    """Return all models, including disabled ones, with the lists ``alias_names`` and ``granted_ids``."""
    aliases = ModelAlias.objects.filter(model=OuterRef("pk")).order_by("alias").values("alias")
    grants = ModelGrant.objects.filter(model=OuterRef("pk")).values("tenant_id")
    return ServedModel.objects.annotate(
        alias_names=ArraySubquery(aliases), granted_ids=ArraySubquery(grants)
    ).order_by("name")


def catalogue() -> tuple[CatalogueEntry, ...]:
    """Return every enabled model, ordered by name, in one query."""
    return tuple(
        CatalogueEntry(
            name=model.name,
            aliases=tuple(model.alias_names),
            max_model_len=model.max_model_len,
            owned_by=model.owned_by,
            created=int(model.created_at.timestamp()),
            public=model.visibility == Visibility.PUBLIC,
            tenant_ids=frozenset(str(tenant_id) for tenant_id in model.granted_ids),
        )
        for model in registered_models().filter(enabled=True)
    )


def model_names() -> list[str]:
    """Return the names of all models, in order."""
    return list(ServedModel.objects.order_by("name").values_list("name", flat=True))
