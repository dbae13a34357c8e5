"""The readiness of models in the admin: who serves a model, or why nobody does."""

from __future__ import annotations

import time
from functools import lru_cache

from inference_worker.registry.models import ServedModel
from inference_worker.registry.readiness import model_readiness
from inference_worker.registry.worker_sightings import WorkerSighting, platform_workers


def readiness_text(model: ServedModel) -> str:
    """Return the sentence on a model's readiness in the current language."""
    return model_readiness(model, _sightings(int(time.monotonic()))).reason()


@lru_cache(maxsize=1)
def _sightings(_second: int) -> list[WorkerSighting] | None:
    """Return the workers, read at most once per second: a list shows many models."""
    return platform_workers()
