"""Memory: predicted from the model's configuration, and gradient checkpointing where it would not suffice."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from tests.training.engine.runs import (
    AttemptEnd,
    AttemptServer,
    Recorder,
    adapter_bytes,
    make_spec,
    run_here,
    write_chats,
)
from tests.training.engine.small_models import write_wide_model
from training.engine import events
from training.engine.attempt import new_attempt
from training.engine.checkpoints.plan import PLAN, read_plan, write_plan
from training.engine.checkpoints.state import RunState, decode_state
from training.engine.checkpoints.store import CheckpointWriteError
from training.engine.control import ManualControl
from training.engine.hardware.memory_prediction import (
    MIB,
    MemoryModel,
    MemoryPlan,
    ModelShape,
    adapter_parameters,
    count_parameters,
    memory_model,
    plan_memory,
    read_shape,
)
from training.engine.setup import choose_micro_batch
from training.engine.spec import TrainingOptions

TOKENS = 740  # of the longest conversation below
SMOLLM2 = ModelShape(576, 1536, 30, 49_152, 576, 192, 134_515_008)


@pytest.fixture(scope="module")
def deep_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of many small layers, whose activations outweigh its logits."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("deep")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=24,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _run(attempts: AttemptServer, model: Path, folder: Path, mode: str, **changes: object) -> AttemptEnd:
    folder.mkdir()
    write_chats(folder / "training.jsonl", 1, words=(700,))
    options = {"gradient_checkpointing": mode}
    end = attempts.run(make_spec(folder, model, epochs=1, batch_size=1, options=options, **changes))
    assert end.status == 0, end.outcome.events[-1]
    return end


@pytest.mark.criterion("2.5")
def test_gradient_checkpointing_lowers_the_measured_peak(
    attempts: AttemptServer, deep_model: Path, tmp_path: Path
) -> None:
    plain = _run(attempts, deep_model, tmp_path / "off", "off")
    saving = _run(attempts, deep_model, tmp_path / "on", "on")
    tight = _run(attempts, deep_model, tmp_path / "tight", "auto", memory_bytes=800 * MIB)

    model = memory_model(read_shape(deep_model), TrainingOptions(), "float32", 0.01)
    prediction = model.predict(TOKENS, checkpoints_gradients=False)
    assert plain.peak_bytes / prediction == pytest.approx(1, abs=0.25)
    assert plain.peak_bytes - saving.peak_bytes > 80 * MIB
    assert plain.peak_bytes - tight.peak_bytes > 80 * MIB
    choice = tight.outcome.choice("gradient_checkpointing")
    assert choice.value == "on"
    assert "800 MiB available" in choice.reason
    assert list(saving.outcome.losses.values()) == pytest.approx(
        list(plain.outcome.losses.values()), abs=1e-5
    )


@pytest.mark.criterion("2.5")
def test_checkpoints_of_a_whole_model_take_no_more_memory_than_training(
    attempts: AttemptServer, tiny_model: Path, tmp_path: Path
) -> None:
    """No second optimizer's state, 144 MiB. One step with the first precedes the checkpoint."""
    write_chats(tmp_path / "training.jsonl", 4, words=(3,))
    wide_model = write_wide_model(tiny_model, tmp_path / "model")
    options = {"adapter": "full", "checkpoint_steps": 2}

    end = attempts.run(make_spec(tmp_path, wide_model, epochs=1, batch_size=1, options=options))

    kinds = [type(event) for event in end.outcome.events]
    assert kinds.count(events.CheckpointSaved) == 2
    before = kinds.index(events.CheckpointSaved) - 1
    assert kinds[: before + 1].count(events.Progress) == 2
    assert end.peak_bytes - end.event_peaks[before] < 144 * MIB


def test_the_prediction_for_smollm2_is_that_of_measurements() -> None:
    """Measured with half the tokens trained: 1000 + 1.41 T MiB without, 1000 + 0.49 T with checkpointing."""
    model = memory_model(SMOLLM2, TrainingOptions(), "float32", 0.5)

    for tokens in (500, 1000, 2000):
        plain = model.predict(tokens, checkpoints_gradients=False) / MIB
        saving = model.predict(tokens, checkpoints_gradients=True) / MIB
        assert plain == pytest.approx(1000 + 1.41 * tokens, rel=0.15)
        assert saving == pytest.approx(1000 + 0.49 * tokens, rel=0.15)


def test_parameters_are_counted_from_the_files(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)

    assert count_parameters(tiny_model / "model.safetensors") == sum(p.numel() for p in model.parameters())


def test_parameters_of_an_adapter_are_those_of_peft(tiny_model: Path) -> None:
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from training.engine.models.weights import lora_config

    for options in (TrainingOptions(), TrainingOptions(rank=4, target_modules=("all-linear",))):
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), lora_config(options))
        trained_count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert adapter_parameters(read_shape(tiny_model), options) == trained_count


def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\xff" * 100)

    with pytest.raises(ValueError, match=r"model\.safetensors is not a safetensors file"):
        count_parameters(path)


@pytest.mark.criterion("2.5")
def test_the_plan_follows_memory_and_requests() -> None:
    model = memory_model(SMOLLM2, TrainingOptions(), "float32", 0.5)

    def plan(available: int, **options: object) -> tuple[bool, int]:
        result = plan_memory(model, TrainingOptions(**options), available * MIB, 400, is_cpu=True)  # type: ignore[arg-type]
        return result.checkpoints_gradients, result.micro_batch_tokens

    assert plan(16_000) == (False, 2048)
    assert plan(3000) == (False, 512)
    assert 512 < plan(6000)[1] < 2048  # half of the memory
    assert plan(1900)[0]
    assert plan(1900, gradient_checkpointing="off")[0] is False
    assert 1 <= plan(1250)[1] < 512
    assert plan(100) == (True, 1)  # doesn't fit: one example at a time
    assert plan(8000, gradient_checkpointing="on", micro_batch_tokens=64) == (True, 64)


@pytest.mark.criterion("2.5")
def test_a_plan_keeps_gradient_checkpointing_that_earlier_micro_batches_need() -> None:
    model, options = memory_model(SMOLLM2, TrainingOptions(), "float32", 0.5), TrainingOptions()
    plan = plan_memory(model, options, 2500 * MIB, 400, is_cpu=True)
    assert (plan.checkpoints_gradients, plan.possible_tokens < 1500) == (False, True)
    plan = plan_memory(model, options, 2500 * MIB, 400, is_cpu=True, earlier_tokens=1500)
    assert (plan.checkpoints_gradients, plan.possible_tokens > 1500) == (True, True)


@pytest.mark.criterion("2.5")
def test_the_peak_is_that_of_two_of_the_longest_examples_where_lanes_compute_them() -> None:
    model = memory_model(SMOLLM2, TrainingOptions(), "float32", 0.5)

    def tokens(available: int, longest: int, adapter: str = "lora") -> int:
        options = msgspec.convert({"adapter": adapter, "gradient_checkpointing": "off"}, TrainingOptions)
        plan = plan_memory(model, options, available * MIB, longest, is_cpu=True)
        return next(
            n for n in (longest, 2 * longest, plan.micro_batch_tokens) if _peak(model, n) == plan.peak_bytes
        )

    assert tokens(16_000, 1500) == 3000
    assert tokens(16_000, 1500, "full") == 2048
    assert tokens(3000, 700) == 700, "two don't fit"
    assert tokens(16_000, 10) == 2048


def _peak(model: MemoryModel, tokens: int) -> int:
    return model.predict(tokens, checkpoints_gradients=False)


@pytest.mark.parametrize(
    ("micro_batch_tokens", "requested_tokens", "lanes", "expected"),
    [(40, None, 2, (40, 2)), (60, None, 1, (30, 0)), (40, None, 3, (30, 0)), (60, 60, 1, (60, 1))],
    ids=["fits", "too large", "lanes too large", "requested"],
)
def test_an_attempt_plans_anew_only_what_is_predicted_to_exceed_its_memory(
    micro_batch_tokens: int,
    requested_tokens: int | None,
    lanes: int,
    expected: tuple[int, int],
    tmp_path: Path,
) -> None:
    spec = make_spec(tmp_path, tmp_path, options={"micro_batch_tokens": requested_tokens})
    attempt = new_attempt(spec, Recorder(), ManualControl())
    attempt.state = RunState(fingerprint="", micro_batch_tokens=micro_batch_tokens, lanes=lanes)
    plan = MemoryPlan(True, requested_tokens or 30, 30, 50, 1, "", "")

    choose_micro_batch(attempt, plan, longest=20)

    assert (attempt.state.micro_batch_tokens, attempt.state.lanes) == expected


@pytest.mark.criterion("2.4")
def test_an_attempt_without_checkpoints_keeps_the_plan_of_the_first_one(
    tiny_model: Path, tmp_path: Path
) -> None:
    """Otherwise a trainer killed early would, with other free memory, train an adapter with other bits."""

    def run(mib: int) -> tuple[RunState, bytes]:
        shutil.rmtree(tmp_path / "work" / "checkpoints", ignore_errors=True)
        shutil.rmtree(tmp_path / "work" / "result", ignore_errors=True)
        outcome = run_here(make_spec(tmp_path, tiny_model, epochs=1, memory_bytes=mib * MIB))
        assert outcome.of(events.Finished)
        plan = decode_state((tmp_path / "work" / PLAN).read_bytes())
        return plan, adapter_bytes(tmp_path / "work" / "result")

    first, adapter = run(560)
    second, same_adapter = run(100_000)
    third, third_adapter = run(555)  # the safety reserve covers the difference
    smaller, _ = run(1)

    assert 1 < first.micro_batch_tokens < 512
    assert third == second == first
    assert third_adapter == same_adapter == adapter
    assert (smaller.micro_batch_tokens, smaller.lanes) == (1, 1)


def test_a_plan_that_is_damaged_or_of_another_run_is_not_used(tmp_path: Path) -> None:
    write_plan(tmp_path, RunState(fingerprint="one", micro_batch_tokens=7))

    assert read_plan(tmp_path, "one") == RunState(fingerprint="one", micro_batch_tokens=7)
    assert read_plan(tmp_path, "other") is None
    (tmp_path / PLAN).write_bytes((tmp_path / PLAN).read_bytes()[:-5])
    assert read_plan(tmp_path, "one") is None
    with pytest.raises(CheckpointWriteError):
        write_plan(tmp_path / "missing", RunState(fingerprint="one"))
