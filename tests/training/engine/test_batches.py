"""Micro-batches: how a step is divided doesn't change it, and memory decides how it is divided."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.engine.runs import AttemptServer, Outcome, make_spec, run_here, write_chats
from tests.training.engine.small_models import write_wide_model
from training.datasets.tokens.step_samples import step_samples
from training.engine import events
from training.engine.objectives.packed import PackedSupervised
from training.engine.objectives.supervised import Sums

TOLERANCE = 2e-5


def _losses(outcome: Outcome) -> list[float]:
    return list(outcome.losses.values())


@pytest.mark.parametrize(("count", "batch_size"), [(1, 1), (10, 3), (12, 4), (5, 8)])
def test_the_samples_of_a_step_are_known_without_a_trainer(count: int, batch_size: int) -> None:
    from training.engine.objectives.steps import StepPlan

    plan = StepPlan(count=count, seed=11, batch_size=batch_size, epochs=3)
    for number in range(len(plan)):
        samples = step_samples(seed=11, count=count, batch_size=batch_size, step=number)
        assert tuple(samples) == plan[number].examples


@pytest.mark.case("training.17")
def test_one_by_eight_equals_eight_by_one(tiny_model: Path, tmp_path: Path) -> None:
    def run(name: str, tokens: int) -> Outcome:
        options = {"micro_batch_tokens": tokens, "packing": "off"}
        return run_here(make_spec(tmp_path / name, tiny_model, examples=16, batch_size=8, options=options))

    together, apart = run("together", 4096), run("apart", 1)

    assert len(_losses(together)) == 4
    assert _losses(apart) == pytest.approx(_losses(together), abs=TOLERANCE)
    norms = [event.grad_norm for event in together.of(events.Progress)]
    assert [e.grad_norm for e in apart.of(events.Progress)] == pytest.approx(norms, rel=1e-4)
    assert _losses(together)[0] > _losses(together)[-1]


@pytest.mark.case("training.17")
def test_the_loss_of_a_step_is_the_mean_over_its_trained_tokens(tiny_model: Path, tmp_path: Path) -> None:
    """A short and a long answer: a mean of means would weigh the tokens of the short one more."""
    from transformers import AutoModelForCausalLM

    from training.datasets.tokens.preparation import prepare
    from training.datasets.tokens.tokenizer import load_tokenizer

    spec = make_spec(tmp_path, tiny_model, examples=4, epochs=1, options={"micro_batch_tokens": 1})
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    cache = prepare(Path(spec.training_file), tmp_path / "cache", load_tokenizer(tiny_model))
    total, count = 0.0, 0
    for index in range(4):
        sample = cache.sample(index)
        labels = torch.tensor([sample.labels])
        trained_count = int((labels[0, 1:] != -100).sum())
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([list(sample.input_ids)]), labels=labels).loss
        total, count = total + float(mean) * trained_count, count + trained_count

    outcome = run_here(spec)

    assert len({cache.trained_tokens[index] for index in range(4)}) > 2
    assert _losses(outcome)[0] == pytest.approx(total / count, abs=TOLERANCE)


@pytest.mark.criterion("2.3")
def test_lack_of_memory_halves_the_micro_batch_and_keeps_the_batch(
    attempts: AttemptServer, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "limited"
    folder.mkdir()
    write_chats(folder / "training.jsonl", 8, answer="zebra " * 30)
    options = {"micro_batch_tokens": 4096, "packing": "off"}
    spec = make_spec(folder, tiny_model, batch_size=8, epochs=2, options=options)

    free = attempts.run(spec)
    limited_run = attempts.run(
        make_spec(folder, tiny_model, batch_size=8, epochs=2, work_dir=str(folder / "b"), options=options),
        memory_bytes=450 << 20,
    )

    choice = limited_run.outcome.choice("micro_batch_tokens")
    assert free.outcome.choice("micro_batch_tokens").value == "4096"
    assert int(choice.value) < 2048
    assert "memory ran out" in choice.reason
    assert limited_run.status == 0, limited_run.outcome.events[-1]
    assert _losses(limited_run.outcome) == pytest.approx(_losses(free.outcome), abs=TOLERANCE)


@pytest.mark.criterion("2.3")
def test_smaller_micro_batches_have_the_memory_of_those_that_failed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of a lane and its frames refer to each other."""
    failed_tensors: list[weakref.ref[torch.Tensor]] = []
    sums = PackedSupervised.sums

    def fail_once(objective: PackedSupervised, model: Any, group: Sequence[int]) -> Sums:
        activations = torch.zeros(1)
        if torch.is_grad_enabled() and not failed_tensors:
            failed_tensors.append(weakref.ref(activations))
            raise MemoryError
        assert not any(reference() is not None for reference in failed_tensors)
        return sums(objective, model, group)

    monkeypatch.setattr(PackedSupervised, "sums", fail_once)
    gc.disable()
    try:
        outcome = run_here(make_spec(tmp_path, tiny_model, options={"packing": "on"}))
    finally:
        gc.enable()

    assert len(failed_tensors) == 1
    assert "memory ran out" in outcome.choice("micro_batch_tokens").reason
    assert outcome.one(events.Finished)


@pytest.mark.criterion("2.3")
def test_lack_of_memory_for_one_example_is_diagnosed(
    attempts: AttemptServer, tiny_model: Path, tmp_path: Path
) -> None:
    write_chats(tmp_path / "training.jsonl", 2, words=(1500,))
    wide_model = write_wide_model(tiny_model, tmp_path / "model")

    # Loading takes some 250 MiB, the step of an example 2 GiB.
    end = attempts.run(make_spec(tmp_path, wide_model), memory_bytes=1000 << 20)

    failure = end.outcome.one(events.Failed)
    assert end.status == 1
    assert (failure.code, failure.is_transient) == ("out_of_memory", False)
    assert "single example" in failure.message
    assert "max_length" in failure.next_step


@pytest.mark.case("training.19")
def test_evaluation_takes_no_more_memory_for_more_examples(
    attempts: AttemptServer, tiny_model: Path, tmp_path: Path
) -> None:
    def peak(name: str, count: int) -> int:
        folder = tmp_path / name
        folder.mkdir()
        validation = write_chats(folder / "long.jsonl", count, answer="zebra " * 10)
        spec = make_spec(folder, tiny_model, examples=4, epochs=1, validation_file=str(validation))
        end = attempts.run(spec)
        assert end.outcome.one(events.Finished).evaluated_on == "validation"
        return end.peak_bytes

    # The logits at the labels of 60 more examples would be 250 MiB, those at all positions 500 MiB.
    assert peak("many", 80) - peak("few", 20) < 60 << 20
