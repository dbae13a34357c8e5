"""Schemas of registered models and of workers."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from api.admin_api.schemas.base import Answer, ListAnswer, ListQuery, MicroUsd, Moment, RequestBody
from api.admin_api.schemas.tenants import Slug

ModelName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/-]{1,200}$")]
ContextLength: TypeAlias = Annotated[int, Field(ge=1, le=100_000_000)]
VisibilityName: TypeAlias = Literal["public", "restricted"]
ReadinessName: TypeAlias = Literal[
    "ready",
    "loading",
    "draining",
    "hung",
    "failed",
    "lost",
    "no_worker",
    "not_loadable",
    "base_disabled",
    "disabled",
    "unknown",
]


class Prices(Answer):
    """Prices in micro-dollars per million tokens. ``cached`` null: as ``prompt``."""

    prompt: int
    cached: int | None
    completion: int
    training: int


class PricesBody(RequestBody):
    """New prices in micro-dollars per million tokens; absent ones stay unchanged."""

    prompt: MicroUsd = 0
    cached: MicroUsd | None = None
    completion: MicroUsd = 0
    training: MicroUsd = 0


class Readiness(Answer):
    """Readiness: whether a request would find a worker. ``workers``: ids of those with the model."""

    state: ReadinessName
    reason: str
    workers: list[str]


class Model(Answer):
    """A registered model. ``granted_to``: tenants with a grant, as far as the caller may see them.

    ``source`` is for operators only. ``base``: the base model of an adapter.
    """

    object: Literal["model"] = "model"
    name: str
    aliases: list[str]
    enabled: bool
    visibility: VisibilityName
    granted_to: list[str]
    max_model_len: int | None
    owned_by: str
    source: str | None
    base: str | None
    prices: Prices
    readiness: Readiness
    created_at: Moment
    updated_at: Moment


class ModelList(ListAnswer):
    """Models by name."""

    data: list[Model]


class ModelsQuery(ListQuery):
    """Filters of models."""

    enabled: bool | None = None
    visibility: VisibilityName | None = None


class ModelSettings(RequestBody):
    """Settings of a model. ``max_model_len`` in tokens; null: what the workers report."""

    enabled: bool = True
    visibility: VisibilityName = "public"
    max_model_len: ContextLength | None = None
    owned_by: Annotated[str, Field(min_length=1, max_length=200)] = "cy-llm"
    source: Annotated[str, Field(max_length=500)] = ""
    prices: PricesBody = Field(default_factory=PricesBody)
    aliases: Annotated[list[ModelName], Field(max_length=100)] = Field(default_factory=list)
    granted_to: Annotated[list[Slug], Field(max_length=10_000)] = Field(
        default_factory=list, description="Short names of the tenants that may use a restricted model."
    )


class NewModel(ModelSettings):
    """A model to register."""

    name: ModelName


class Worker(Answer):
    """A worker and its last heartbeat. ``models``: those that the caller may see. Ages in seconds."""

    object: Literal["worker"] = "worker"
    id: str
    status: Literal["starting", "loading", "ready", "draining", "failed", "hung", "lost"]
    seen_s: float
    models: list[str]
    running: int | None
    waiting: int | None
    max_model_len: int | None
    engine: str | None
    hardware: str | None
    stage: str | None
    stage_s: float | None


class WorkerList(Answer):
    """Live workers, and those lost within the last hour, by id."""

    object: Literal["list"] = "list"
    data: list[Worker]
