"""Models of a tenant as its pages show them: readiness, prices, lineage and proof."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.urls import reverse

from inference_worker.client.routing import supports
from inference_worker.protocol.messages import Operation
from inference_worker.protocol.prices import Prices
from inference_worker.registry.models import ServedModel
from inference_worker.registry.readiness import ModelReadiness, Readiness, model_readiness, tenant_models
from inference_worker.registry.selectors import model_prices
from inference_worker.registry.worker_sightings import WorkerSighting, platform_workers
from tenants.files.models import StoredFile
from training.models import FineTuningJob

if TYPE_CHECKING:
    from inference_worker.registry.selectors import RegisteredModel

TONES: Mapping[Readiness, str] = {
    Readiness.READY: "good",
    Readiness.LOADING: "info",
    Readiness.DRAINING: "warn",
    Readiness.DISABLED: "",
    Readiness.UNKNOWN: "warn",
}


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model with its readiness. ``context_tokens``: as its workers report it, else as registered."""

    model: RegisteredModel
    readiness: ModelReadiness
    prices: Prices
    context_tokens: int | None

    @property
    def tone(self) -> str:
        """The colour of the state: a class of badges."""
        return TONES.get(self.readiness.state, "bad")

    @property
    def base(self) -> ServedModel | None:
        """The base model of an adapter."""
        return self.model.adapter.base if hasattr(self.model, "adapter") else None

    def belongs_to(self, tenant_id: uuid.UUID) -> bool:
        """Return whether the model is an adapter of this tenant."""
        return hasattr(self.model, "adapter") and self.model.adapter.tenant_id == tenant_id

    @property
    def can_chat(self) -> bool:
        """True if a ready worker answers chats; a model for embeddings doesn't."""
        heartbeats = [worker.heartbeat for worker in self.readiness.workers if worker.heartbeat]
        return any(supports(heartbeat, Operation.CHAT_COMPLETIONS) for heartbeat in heartbeats)

    def as_json(self) -> dict[str, object]:
        """Return what changes while a page is open."""
        return {
            "name": self.model.name,
            "state": self.readiness.state.value,
            "label": str(self.readiness.state.label),
            "tone": self.tone,
            "reason": self.readiness.reason(),
            "ready": self.readiness.is_ready,
            "chats": self.readiness.is_ready and self.can_chat,
        }


def model_rows(tenant_id: uuid.UUID) -> list[ModelRow]:
    """Return all models that a tenant may see, by name. One query."""
    workers = platform_workers()
    return [_row(model, workers) for model in tenant_models(tenant_id)]


def model_row(tenant_id: uuid.UUID, name: str) -> ModelRow | None:
    """Return a model that a tenant may see, None if there is none. One query."""
    model = tenant_models(tenant_id).filter(name=name).first()
    return None if model is None else _row(model, platform_workers())


def _row(model: RegisteredModel, workers: Sequence[WorkerSighting] | None) -> ModelRow:
    readiness = model_readiness(model, workers)
    prices = model_prices(model)
    context_lengths = [worker.heartbeat.max_model_len for worker in readiness.workers if worker.heartbeat]
    context = max(context_lengths, default=0) or model.max_model_len
    return ModelRow(model, readiness, prices, context)


@dataclass(frozen=True, slots=True)
class Lineage:
    """The origin of an adapter, as far as it still exists. Results as in the job's ``result``."""

    job: FineTuningJob | None
    training_file: StoredFile | None

    @property
    def base_score(self) -> dict[str, Any]:
        """The evaluation of the base model."""
        return self._result("base")

    @property
    def score(self) -> dict[str, Any]:
        """The evaluation of the adapter."""
        return self._result("result")

    @property
    def verification(self) -> dict[str, Any]:
        """The agreement of the log-probs of engine and trainer."""
        return self._result("verification")

    def _result(self, name: str) -> dict[str, Any]:
        value = (self.job.result or {}).get(name) if self.job else None
        return value if isinstance(value, dict) else {}


def lineage(model: ServedModel, tenant_id: uuid.UUID) -> Lineage | None:
    """Return the lineage of an adapter of the tenant, None for other models. At most two queries."""
    if not hasattr(model, "adapter") or model.adapter.tenant_id != tenant_id:
        return None
    job = FineTuningJob.objects.filter(id=model.adapter.job_id, tenant_id=tenant_id).first()
    if job is None:
        return Lineage(None, None)
    return Lineage(job, StoredFile.objects.filter(id=job.training_file, tenant_id=tenant_id).first())


def lineage_addresses(origin: Lineage | None, slug: str) -> dict[str, str]:
    """Return the addresses of the pages of job and training file, as far as they exist."""
    addresses = {}
    if origin is not None and origin.job is not None:
        addresses["job_address"] = reverse("console:job", args=[slug, origin.job.id])
    if origin is not None and origin.training_file is not None:
        addresses["file_address"] = reverse("console:file", args=[slug, origin.training_file.id])
    return addresses
