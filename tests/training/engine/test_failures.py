"""Failures: each has a stable code, a cause and a next step, and nothing bad is ever published."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from tests.training.engine.runs import AttemptServer, Outcome, make_spec, run_here
from tests.training.engine.small_models import SMALL
from training.engine import events
from training.engine.checkpoints.manifest import InvalidCheckpointError, verify_checkpoint
from training.engine.diagnosis import diagnose
from training.engine.loop import training_loop
from training.engine.models.weights import BaseModelError
from training.engine.objectives.dataset import TrainingDataError


def _failure(outcome: Outcome) -> events.Failed:
    failure = outcome.one(events.Failed)
    assert failure.message
    assert failure.next_step
    assert outcome.events[-1] == failure
    return failure


@pytest.mark.case("training.9", "training.16")
@pytest.mark.criterion("2.3", "2.6")
def test_a_diverged_run_stops_and_publishes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    spec = make_spec(
        tmp_path,
        tiny_model,
        epochs=20,
        learning_rate=1e20,
        options={"checkpoint_steps": 1, "adapter": "full"},
    )

    outcome = run_here(spec)

    failure = _failure(outcome)
    assert failure.code == "non_finite_loss"
    assert not failure.is_transient
    assert not (tmp_path / "work" / "result").exists()
    for checkpoint in (tmp_path / "work" / "checkpoints").glob("step-*"):
        assert_finite(checkpoint)


def assert_finite(folder: Path) -> None:
    """Check all tensors of a folder."""
    from training.engine.models.weights import read_weights

    for name, tensor in read_weights(folder).items():
        assert bool(tensor.isfinite().all()), name


@pytest.mark.case("training.9", "training.16")
@pytest.mark.criterion("2.6")
def test_a_weight_that_is_not_finite_is_never_saved(tiny_model: Path, tmp_path: Path) -> None:
    import torch

    from training.engine.hardware.precision import Precision
    from training.engine.loop.trainer import NonFiniteError
    from training.engine.loop.training_loop import check_weights
    from training.engine.models.weights import prepare_model

    model = prepare_model(make_spec(tmp_path, tiny_model), Precision("float32", "float32", ""))
    check_weights(model)
    name, parameter = next(item for item in model.named_parameters() if item[1].requires_grad)
    with torch.no_grad():
        parameter[0, 0] = float("inf")

    with pytest.raises(NonFiniteError, match=name.replace(".", r"\.")):
        check_weights(model)


@pytest.mark.criterion("2.3", "2.4")
def test_a_full_disk_keeps_the_last_checkpoint_and_the_run_can_go_on(
    attempts: AttemptServer, tiny_model: Path, tmp_path: Path
) -> None:
    spec = make_spec(tmp_path, tiny_model, options={"checkpoint_steps": 2})
    assert attempts.run(spec, kill_at_event=10).status < 0  # step 2 is saved
    checkpoints = tmp_path / "work" / "checkpoints"

    end = attempts.run(spec, file_bytes=2000)

    failure = _failure(end.outcome)
    assert failure.code == "disk_full"
    assert failure.is_transient
    assert failure.checkpoint_step == 2
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000002"]
    verify_checkpoint(checkpoints / "step-00000002")
    assert attempts.run(spec).outcome.one(events.Prepared).start_step == 2
    assert (tmp_path / "work" / "result").exists()


@pytest.mark.criterion("2.3")
def test_a_folder_that_can_not_be_written_is_diagnosed(tiny_model: Path, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, tiny_model, options={"checkpoint_steps": 1})
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "checkpoints").write_text("a file where the folder should be")

    failure = _failure(run_here(spec))

    assert failure.code == "checkpoint_unwritable"
    assert failure.is_transient
    assert failure.checkpoint_step is None
    assert not (tmp_path / "work" / "result").exists()


def test_a_manifest_that_can_not_be_read_is_named_without_its_folder(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(InvalidCheckpointError, match=r"not readable: .*manifest\.json") as error:
        verify_checkpoint(tmp_path)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.criterion("2.3")
def test_a_damaged_base_model_is_diagnosed(tiny_model: Path, tmp_path: Path) -> None:
    broken_model = tmp_path / "model"
    shutil.copytree(tiny_model, broken_model)
    weights = broken_model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    failure = _failure(run_here(make_spec(tmp_path / "run", broken_model)))

    assert failure.code == "base_model_unreadable"
    assert "folder of the base model" in failure.next_step
    assert failure.next_step.endswith("then resume the job.")
    (broken_model / "config.json").unlink()
    message = _failure(run_here(make_spec(tmp_path / "run", broken_model))).message
    assert "config.json" in message
    assert str(tmp_path) not in message


@pytest.mark.criterion("2.3")
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "unable to mmap 25497016 bytes from file <model.safetensors>: Cannot allocate memory (12)"
        ),
        SafetensorError("I/O error: Cannot allocate memory (os error 12)"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_lack_of_memory_while_the_base_model_is_loaded_is_no_fault_of_the_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", Mock(side_effect=error))

    failure = _failure(run_here(make_spec(tmp_path, tiny_model)))

    assert failure.code == "out_of_memory"
    assert "while the base model was loaded" in failure.message
    assert "more free memory" in failure.next_step


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyError("out of memory"), "internal_error"),
        (TrainingDataError("line 3: out of memory is no role"), "invalid_dataset"),
        (BaseModelError("config.json has no key 'out of memory'"), "base_model_unreadable"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk_full"),
    ],
)
def test_an_error_that_only_mentions_memory_is_not_lack_of_it(error: Exception, code: str) -> None:
    assert diagnose(error).code == code


@pytest.mark.criterion("2.3")
def test_lack_of_memory_on_the_device_that_the_base_model_is_moved_to_is_no_matter_of_the_batch(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 MiB.")
    monkeypatch.setattr(torch.nn.Module, "to", Mock(side_effect=error))

    failure = _failure(run_here(make_spec(tmp_path, tiny_model, options={"adapter": "full"})))

    assert failure.code == "out_of_memory"
    assert "while the base model was loaded" in failure.message
    assert "more free memory" in failure.next_step


@pytest.mark.criterion("2.3")
def test_an_adapter_that_the_model_can_not_have_is_diagnosed(tiny_model: Path, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, tiny_model, options={"target_modules": ["nonsense"]})

    failure = run_here(spec).one(events.Failed)

    assert (failure.code, failure.is_transient) == ("invalid_options", False)
    assert "nonsense" in failure.message
    assert "target_modules" in failure.next_step


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")  # peft's own patterns
def test_experts_that_engines_load_no_adapters_of_are_refused_before_they_are_trained(tmp_path: Path) -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    from training.engine.hardware.precision import Precision
    from training.engine.models.weights import AdapterOptionsError, prepare_model

    MixtralForCausalLM(MixtralConfig(**SMALL, num_local_experts=2)).save_pretrained(tmp_path / "model")
    spec = make_spec(tmp_path, tmp_path / "model", options={"target_modules": ["all-linear"]})
    precision = Precision("float32", "float32", "")

    with pytest.raises(AdapterOptionsError, match="engines don't load adapters of down_proj"):
        prepare_model(msgspec.structs.replace(spec, is_served=True), precision)

    assert prepare_model(spec, precision).peft_config["default"].target_parameters


@pytest.mark.criterion("2.3")
def test_data_that_can_not_be_trained_on_is_diagnosed(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "training.jsonl").write_text('{"messages": [{"role": "wizard", "content": "secret"}]}\n')

    failure = _failure(run_here(make_spec(tmp_path, tiny_model)))

    assert failure.code == "invalid_dataset"
    assert "training file" in failure.message
    assert not failure.is_transient


@pytest.mark.criterion("2.3")
def test_a_missing_file_is_diagnosed(tiny_model: Path, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, tiny_model, training_file=str(tmp_path / "absent.jsonl"))

    failure = _failure(run_here(spec))

    assert failure.code == "invalid_dataset"
    assert "can't be read" in failure.message


@pytest.mark.criterion("2.10")
def test_early_stopping_without_a_validation_file_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    spec = make_spec(tmp_path, tiny_model, options={"early_stopping": {"patience": 1}})

    assert "validation file" in _failure(run_here(spec)).message


@pytest.mark.criterion("2.3", "2.4")
@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_lack_of_memory_for_a_checkpoint_leaves_nothing_half_written(
    error: Exception, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_loop, "encode_state", Mock(side_effect=error))

    failure = _failure(run_here(make_spec(tmp_path, tiny_model, options={"checkpoint_steps": 1})))

    assert failure.code == "out_of_memory"
    assert failure.message == "Memory ran out while a checkpoint was written."
    assert not list((tmp_path / "work" / "checkpoints").iterdir())
