"""The readiness of models: the reason why nobody serves one, from heartbeats and the registry."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import redis

from inference_worker.protocol.messages import WorkerState
from inference_worker.registry import services
from inference_worker.registry.models import Adapter, ServedModel
from inference_worker.registry.readiness import ModelReadiness, Readiness, model_readiness, tenant_models
from inference_worker.registry.worker_sightings import WorkerStatus, worker_sightings
from tests.console.harness.heartbeats import beat, heartbeat, lose

pytestmark = pytest.mark.django_db
TENANT, OTHER = uuid.uuid4(), uuid.uuid4()
DIGEST = "a" * 64


@pytest.fixture
def tiny() -> ServedModel:
    """A public model without workers."""
    return services.model_register(name="tiny", actor="t")


def _tuned(base: ServedModel, rank: int = 8) -> ServedModel:
    services.model_register(name="tuned", actor="t", visibility="restricted")
    services.grant_set(name="tuned", tenant_ids=[TENANT], actor="t")
    model = ServedModel.objects.get(name="tuned")
    Adapter.objects.create(
        model=model, base=base, sha256=DIGEST, rank=rank, size_bytes=1, tenant_id=TENANT, job_id="ftjob-1"
    )
    return model


def _readiness(name: str, redis_url: str) -> ModelReadiness:
    model = tenant_models(TENANT).get(name=name)
    return model_readiness(model, worker_sightings(redis_url))


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({}, Readiness.READY, "Served by 1 worker."),
        (
            {"state": WorkerState.LOADING, "stage": "weights", "stage_s": 7.4},
            Readiness.LOADING,
            "A worker is loading: weights, for 7 s.",
        ),
        ({"state": WorkerState.STARTING}, Readiness.LOADING, "A worker is starting."),
        (
            {"state": WorkerState.DRAINING},
            Readiness.DRAINING,
            "Its worker is shutting down and takes no new requests.",
        ),
        (
            {"loop_lag_s": 60.0},
            Readiness.HUNG,
            "Its worker doesn't respond. An operator has to restart it.",
        ),
        (
            {"state": WorkerState.FAILED},
            Readiness.FAILED,
            "Its worker failed to start. Its log names the cause.",
        ),
        ({"models": ("other",)}, Readiness.NO_WORKER, "No worker serves it. An operator has to start one."),
    ],
)
def test_the_state_of_the_worker_is_the_reason(
    tiny: ServedModel,
    redis_url: str,
    redis_client: redis.Redis,
    changes: dict[str, Any],
    state: Readiness,
    reason: str,
) -> None:
    beat(redis_client, heartbeat(**changes))
    readiness = _readiness("tiny", redis_url)
    assert (readiness.state, readiness.reason()) == (state, reason)
    assert readiness.is_ready == (state is Readiness.READY)


@pytest.mark.case("admin.3")
def test_a_lost_worker_is_named_with_its_age_until_another_serves_the_model(
    tiny: ServedModel, redis_url: str, redis_client: redis.Redis
) -> None:
    beat(redis_client, heartbeat("one"))
    lose(redis_client, "one", seen_s=40)
    readiness = _readiness("tiny", redis_url)
    assert readiness.state is Readiness.LOST
    assert readiness.reason() in ("Worker lost, seen 40 s ago.", "Worker lost, seen 41 s ago.")
    beat(redis_client, heartbeat("two"))
    assert [worker.worker_id for worker in _readiness("tiny", redis_url).workers] == ["two"]
    assert [sighting.status for sighting in worker_sightings(redis_url)] == [
        WorkerStatus.LOST,
        WorkerStatus.READY,
    ]


def test_an_adapter_needs_its_base_enabled_served_and_able_to_load_its_rank(
    tiny: ServedModel, redis_url: str, redis_client: redis.Redis
) -> None:
    _tuned(tiny, rank=8)
    assert _readiness("tuned", redis_url).state is Readiness.NO_WORKER
    beat(redis_client, heartbeat(max_lora_rank=4))
    readiness = _readiness("tuned", redis_url)
    assert readiness.state is Readiness.NOT_LOADABLE
    assert readiness.reason() == "No worker of tiny can load an adapter of its rank."
    beat(redis_client, heartbeat(max_lora_rank=8))
    assert _readiness("tuned", redis_url).is_ready
    beat(redis_client, heartbeat(max_lora_rank=8, state=WorkerState.LOADING))
    assert _readiness("tuned", redis_url).state is Readiness.LOADING
    services.model_register(name="tiny", actor="t", enabled=False)
    assert _readiness("tuned", redis_url).reason() == "Its base model tiny is disabled."
    services.model_register(name="tuned", actor="t", enabled=False)
    assert _readiness("tuned", redis_url).state is Readiness.DISABLED


def test_a_tenant_sees_public_and_granted_models_only(tiny: ServedModel) -> None:
    _tuned(tiny)
    assert [model.name for model in tenant_models(TENANT)] == ["tiny", "tuned"]
    assert [model.name for model in tenant_models(OTHER)] == ["tiny"]


def test_without_redis_the_readiness_is_unknown(tiny: ServedModel) -> None:
    assert model_readiness(tiny, None).state is Readiness.UNKNOWN
