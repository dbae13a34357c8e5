"""Readiness of registered models: whether a request would find a worker, and the reason if not."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import QuerySet
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from inference_worker.client.routing import serves
from inference_worker.protocol.messages import AdapterRef
from inference_worker.registry.models import ServedModel
from inference_worker.registry.selectors import registered_models, visible_to
from inference_worker.registry.worker_sightings import WorkerSighting, WorkerStatus

if TYPE_CHECKING:
    from inference_worker.registry.selectors import RegisteredModel


class Readiness(models.TextChoices):
    """States of a model for requests; only READY ones are served."""

    READY = "ready", _("ready")
    LOADING = "loading", _("loading")
    DRAINING = "draining", _("draining")
    HUNG = "hung", _("not responding")
    FAILED = "failed", _("failed")
    LOST = "lost", _("lost")
    NO_WORKER = "no_worker", _("no worker")
    NOT_LOADABLE = "not_loadable", _("not loadable")
    BASE_DISABLED = "base_disabled", _("base disabled")
    DISABLED = "disabled", _("disabled")
    UNKNOWN = "unknown", _("unknown")


# The best state first: a model is as ready as the best of its workers.
_OF_WORKER = {
    WorkerStatus.READY: Readiness.READY,
    WorkerStatus.LOADING: Readiness.LOADING,
    WorkerStatus.STARTING: Readiness.LOADING,
    WorkerStatus.DRAINING: Readiness.DRAINING,
    WorkerStatus.HUNG: Readiness.HUNG,
    WorkerStatus.FAILED: Readiness.FAILED,
    WorkerStatus.LOST: Readiness.LOST,
}
_ORDER = list(_OF_WORKER)


@dataclass(frozen=True, slots=True)
class ModelReadiness:
    """The readiness of a model. ``workers``: those with the best state that have the model or its base.

    ``detail``: a name in the reason, such as that of a disabled base model.
    """

    state: Readiness
    workers: tuple[WorkerSighting, ...] = ()
    detail: str = ""

    @property
    def is_ready(self) -> bool:
        """True if requests are served."""
        return self.state is Readiness.READY

    def reason(self) -> str:
        """Return a sentence in the current language: which workers serve the model, or why none does."""
        match self.state:
            case Readiness.READY:
                count = len(self.workers)
                text = ngettext("Served by %(count)s worker.", "Served by %(count)s workers.", count)
                return text % {"count": count}
            case Readiness.LOST:
                seconds = int(min(worker.seen_s for worker in self.workers))
                text = ngettext("Worker lost, seen %(n)s s ago.", "Worker lost, seen %(n)s s ago.", seconds)
                return text % {"n": seconds}
            case Readiness.LOADING:
                return self._loading_reason()
        return str(_REASONS[self.state]) % {"detail": self.detail}

    def _loading_reason(self) -> str:
        heartbeat = self.workers[0].heartbeat
        if heartbeat is None or not heartbeat.stage:
            return gettext("A worker is starting.")
        values = {"stage": heartbeat.stage, "n": int(heartbeat.stage_s)}
        return gettext("A worker is loading: %(stage)s, for %(n)s s.") % values


_REASONS = {
    Readiness.DRAINING: _("Its worker is shutting down and takes no new requests."),
    Readiness.HUNG: _("Its worker doesn't respond. An operator has to restart it."),
    Readiness.FAILED: _("Its worker failed to start. Its log names the cause."),
    Readiness.NO_WORKER: _("No worker serves it. An operator has to start one."),
    Readiness.NOT_LOADABLE: _("No worker of %(detail)s can load an adapter of its rank."),
    Readiness.BASE_DISABLED: _("Its base model %(detail)s is disabled."),
    Readiness.DISABLED: _("An operator has disabled it."),
    Readiness.UNKNOWN: _("The workers can't be read, because Redis is unavailable."),
}


def tenant_models(tenant_id: uuid.UUID) -> QuerySet[RegisteredModel]:
    """Return the models that a tenant may see, disabled ones included, by name."""
    return registered_models().filter(visible_to([tenant_id]))


def usable_model_names(tenant_id: uuid.UUID | None) -> list[str]:
    """Return the names and aliases of the models that a tenant may see, of all models if None, in order."""
    models = registered_models() if tenant_id is None else tenant_models(tenant_id)
    return sorted({name for model in models for name in (model.name, *model.alias_names)})


def model_readiness(model: ServedModel, workers: Sequence[WorkerSighting] | None) -> ModelReadiness:
    """Return the readiness of a model with its adapter. ``workers`` is None if Redis is unavailable."""
    if not model.enabled:
        return ModelReadiness(Readiness.DISABLED)
    adapter = model.adapter if hasattr(model, "adapter") else None
    if adapter is not None and not adapter.base.enabled:
        return ModelReadiness(Readiness.BASE_DISABLED, detail=adapter.base.name)
    if workers is None:
        return ModelReadiness(Readiness.UNKNOWN)
    if adapter is None:
        return _best(_with_model(workers, model.name, None)) or ModelReadiness(Readiness.NO_WORKER)
    ref = AdapterRef(name=model.name, base_model=adapter.base.name, sha256=adapter.sha256, rank=adapter.rank)
    if best := _best(_with_model(workers, model.name, ref)):
        return best
    of_base = _best(_with_model(workers, adapter.base.name, None))
    if of_base is None:
        return ModelReadiness(Readiness.NO_WORKER)
    if of_base.is_ready:
        return ModelReadiness(Readiness.NOT_LOADABLE, detail=adapter.base.name)
    return of_base


def _with_model(
    workers: Iterable[WorkerSighting], name: str, adapter: AdapterRef | None
) -> list[WorkerSighting]:
    return [
        worker
        for worker in workers
        if worker.heartbeat is not None and serves(worker.heartbeat, name, adapter)
    ]


def _best(workers: Sequence[WorkerSighting]) -> ModelReadiness | None:
    """Return the readiness by the workers in the best state, None without workers."""
    if not workers:
        return None
    status = min((worker.status for worker in workers), key=_ORDER.index)
    same = tuple(worker for worker in workers if worker.status is status)
    return ModelReadiness(_OF_WORKER[status], same)
