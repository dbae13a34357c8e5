"""Verification on a live worker: a right adapter passes, and no wrong one does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.stack.adapters.conftest import AdapterWorker
from tests.tuned import save_adapter
from training.choices import JobPhase
from training.publishing.agreement import FLOAT32, Agreement
from training.publishing.errors import PublishingError
from training.publishing.verification import Candidate, VerificationContext, verify

PROMPTS = ((1, 504, 3007, 282), (253, 2426, 6354), (42, 41, 40, 39, 38))
SCALE = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"


def context(
    worker: AdapterWorker, report: Callable[[JobPhase], None], wait_s: float = 10
) -> VerificationContext:
    return VerificationContext(
        redis_url=worker.redis_url,
        wait_s=wait_s,
        environment={**os.environ, "OMP_NUM_THREADS": "1"},
        threads=1,
        report_phase=report,
    )


def verified(
    worker: AdapterWorker, folder: Path, *, served_folder: Path | None = None, base: Path | None = None
) -> Agreement:
    """Verify an adapter; the worker may be served another one, or the trainer have another base model."""
    candidate = Candidate(
        ref=worker.publish(served_folder or folder),
        folder=folder,
        base_folder=base or worker.model,
        prompts=PROMPTS,
    )
    return verify(candidate, context(worker, lambda _: None))


def changed_copy(
    folder: Path, target: Path, change: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]
) -> Path:
    """Return a copy of an adapter with other weights."""
    shutil.copytree(folder, target)
    file = target / "adapter_model.safetensors"
    save_file(dict(change(load_file(file))), file)
    return target


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "right", seed=1)


@pytest.mark.criterion("2.9")
def test_a_right_adapter_agrees_with_the_trainer_and_differs_from_the_base_model(
    adapter_worker: AdapterWorker, adapter: Path
) -> None:
    phases: list[JobPhase] = []
    candidate = Candidate(
        ref=adapter_worker.publish(adapter),
        folder=adapter,
        base_folder=adapter_worker.model,
        prompts=PROMPTS,
    )
    agreement = verify(candidate, context(adapter_worker, phases.append))
    assert agreement.tolerance == FLOAT32
    assert agreement.tokens == 24 * len(PROMPTS)
    assert agreement.adapter.largest < 1e-4
    assert agreement.effect.mean > 0.01
    assert JobPhase.VERIFYING in phases
    assert json.dumps(agreement.as_json())


@pytest.mark.case("training.21")
@pytest.mark.criterion("2.9")
def test_an_engine_that_lacks_part_of_the_weights_is_found_out(
    adapter_worker: AdapterWorker, adapter: Path, tmp_path: Path
) -> None:
    served_folder = changed_copy(
        adapter, tmp_path / "a", lambda w: {name: v for name, v in w.items() if "v_proj" not in name}
    )
    with pytest.raises(PublishingError, match="does not compute the fine-tuned model as it was trained"):
        verified(adapter_worker, adapter, served_folder=served_folder)


@pytest.mark.case("training.21")
@pytest.mark.criterion("2.9")
def test_an_engine_that_answers_with_the_base_model_is_found_out(
    adapter_worker: AdapterWorker, adapter: Path, tmp_path: Path
) -> None:
    zero = changed_copy(adapter, tmp_path / "a", lambda w: {name: v * 0 for name, v in w.items()})
    with pytest.raises(PublishingError, match="as it was trained"):
        verified(adapter_worker, adapter, served_folder=zero)


@pytest.mark.case("training.21")
def test_an_adapter_without_effect_is_refused(
    adapter_worker: AdapterWorker, adapter: Path, tmp_path: Path
) -> None:
    weak = changed_copy(adapter, tmp_path / "a", lambda w: {name: v * 1e-5 for name, v in w.items()})
    with pytest.raises(PublishingError, match="does not differ measurably") as excinfo:
        verified(adapter_worker, weak)
    assert excinfo.value.failure.code == "adapter_verification_failed"
    assert not excinfo.value.failure.is_transient
    assert "learning rate" in excinfo.value.failure.next_step


@pytest.mark.criterion("2.9")
def test_one_wrong_weight_is_found_out(adapter_worker: AdapterWorker, adapter: Path, tmp_path: Path) -> None:
    def change(weights: dict[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        weights[SCALE] = weights[SCALE].copy()
        weights[SCALE][0, 0] += 2.0
        return weights

    with pytest.raises(PublishingError, match="as it was trained"):
        verified(adapter_worker, adapter, served_folder=changed_copy(adapter, tmp_path / "a", change))


@pytest.mark.criterion("2.9")
def test_a_worker_with_another_base_model_is_found_out(
    adapter_worker: AdapterWorker, adapter: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(adapter_worker.model, other)
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1.05
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PublishingError, match="base model is not the one that was trained"):
        verified(adapter_worker, adapter, base=other)


@pytest.mark.case("training.22")
def test_what_the_engine_refuses_is_not_published(
    adapter_worker: AdapterWorker, adapter: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dora"
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    with pytest.raises(PublishingError, match="can't load the fine-tuned model"):
        verified(adapter_worker, adapter, served_folder=folder)
    assert verified(adapter_worker, adapter).adapter.largest < 1e-4, "the engine still serves"


@pytest.mark.case("training.20")
def test_a_rank_that_no_worker_loads_is_named(adapter_worker: AdapterWorker, adapter: Path) -> None:
    candidate = Candidate(
        ref=adapter_worker.publish(adapter, rank=32),
        folder=adapter,
        base_folder=adapter_worker.model,
        prompts=PROMPTS,
    )
    with pytest.raises(PublishingError, match="rank 32; the maximum is 16"):
        verify(candidate, context(adapter_worker, lambda _: None, wait_s=0))


def test_without_a_worker_the_job_waits_until_it_is_interrupted(
    adapter_worker: AdapterWorker, adapter: Path
) -> None:
    class Cancelled(Exception):
        pass

    phases: list[JobPhase] = []

    def report(phase: JobPhase) -> None:
        phases.append(phase)
        if len(phases) == 3:
            raise Cancelled

    ref = adapter_worker.publish(adapter)
    candidate = Candidate(
        ref=type(ref)(name=ref.name, base_model="unserved", sha256=ref.sha256, rank=8),
        folder=adapter,
        base_folder=adapter_worker.model,
        prompts=PROMPTS,
    )
    with pytest.raises(Cancelled):
        verify(candidate, context(adapter_worker, report, wait_s=60))
    assert set(phases) == {JobPhase.WAITING_FOR_WORKER}
