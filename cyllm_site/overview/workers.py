"""Workers and the readiness of models, for operators and, without other tenants' models, for staff."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from django.db.models import QuerySet
from msgspec import structs

from inference_worker.registry.models import ServedModel
from inference_worker.registry.readiness import ModelReadiness, model_readiness
from inference_worker.registry.selectors import visible_to
from inference_worker.registry.worker_sightings import WorkerSighting, WorkerStatus, platform_workers

FAULTY = frozenset({WorkerStatus.LOST, WorkerStatus.HUNG, WorkerStatus.FAILED})
MAX_MODELS = 200


def enabled_models(tenant_ids: Collection[uuid.UUID] | None) -> QuerySet[ServedModel]:
    """Return the enabled models that one of the tenants may see, None: all, ready to be judged."""
    models = ServedModel.objects.filter(visible_to(tenant_ids), enabled=True)
    return models.select_related("adapter__base").order_by("name")


def readiness_rows(
    workers: list[WorkerSighting] | None, tenant_ids: Collection[uuid.UUID] | None
) -> list[tuple[ServedModel, ModelReadiness]]:
    """Return up to ``MAX_MODELS`` enabled models with their readiness, those that are not ready first."""
    rows = [(model, model_readiness(model, workers)) for model in enabled_models(tenant_ids)[:MAX_MODELS]]
    return sorted(rows, key=lambda row: row[1].is_ready)


def workers_context(tenant_ids: Collection[uuid.UUID] | None) -> dict[str, Any]:
    """Return the context of the workers' page, with the models that one of the tenants may see, None: all.

    At most two queries, and one call of Redis.
    """
    workers = platform_workers()
    shown_workers = workers or []
    if tenant_ids is not None:
        visible_models = ServedModel.objects.filter(visible_to(tenant_ids))
        names = frozenset(visible_models.values_list("name", flat=True))
        shown_workers = [_with_models(worker, names) for worker in shown_workers]
    return {
        "is_unavailable": workers is None,
        "workers": [(worker, worker.status in FAULTY) for worker in shown_workers],
        "models": readiness_rows(workers, tenant_ids),
    }


def _with_models(worker: WorkerSighting, names: frozenset[str]) -> WorkerSighting:
    """Return a worker that serves no models but those of the names."""
    if worker.heartbeat is None:
        return worker
    models = tuple(name for name in worker.heartbeat.models if name in names)
    return replace(worker, heartbeat=structs.replace(worker.heartbeat, models=models))
