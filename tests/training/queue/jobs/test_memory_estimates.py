"""Memory in dataset reports: that of the trainer's own model of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.datasets.report import DatasetReport, RunFigures
from training.datasets.tokens.preparation import check_dataset
from training.datasets.tokens.tokenizer import load_tokenizer
from training.engine.hardware.memory_prediction import LARGEST_CPU_MICRO_BATCH, memory_model, read_shape
from training.engine.spec import TrainingOptions
from training.requests.memory_estimates import with_memory

MIB = 1 << 20


@pytest.fixture
def report(smollm2: Path, tmp_path: Path) -> DatasetReport:
    path = tmp_path / "chats.jsonl"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "word " * 500}]
    path.write_text(json.dumps({"messages": turns}))
    return check_dataset(path, load_tokenizer(smollm2), run=RunFigures(epochs=1, batch_size=1))


def memory(report: DatasetReport, options: TrainingOptions, folder: Path) -> int:
    estimate = with_memory(report, options, folder).estimate
    assert estimate is not None
    assert estimate.memory_bytes is not None
    return estimate.memory_bytes


def test_the_estimate_is_the_trainers_prediction_for_the_longest_example(
    smollm2: Path, report: DatasetReport
) -> None:
    assert report.tokens is not None
    assert report.tokens.lengths is not None
    longest = report.tokens.lengths.longest
    share = report.tokens.trained_tokens / report.tokens.tokens
    model = memory_model(read_shape(smollm2), TrainingOptions(), "float32", share)
    expected = model.predict(max(longest, LARGEST_CPU_MICRO_BATCH), checkpoints_gradients=False)
    assert memory(report, TrainingOptions(), smollm2) == expected
    per_token = (expected - model.predict(0, checkpoints_gradients=False)) / LARGEST_CPU_MICRO_BATCH
    assert 1.3 * MIB < per_token < 2.5 * MIB, "measured with SmolLM2: 1.4 MiB, and the logits"


def test_the_estimate_follows_the_options(smollm2: Path, report: DatasetReport) -> None:
    usual = memory(report, TrainingOptions(), smollm2)
    for options in (
        TrainingOptions(gradient_checkpointing="on"),
        TrainingOptions(precision="bfloat16"),
    ):
        assert memory(report, options, smollm2) < usual
    assert memory(report, TrainingOptions(micro_batch_tokens=4000), smollm2) > usual
    assert memory(report, TrainingOptions(adapter="full"), smollm2) > usual


def test_a_model_without_figures_has_no_estimate(report: DatasetReport, tmp_path: Path) -> None:
    estimate = with_memory(report, TrainingOptions(), tmp_path).estimate
    assert estimate is not None
    assert estimate.memory_bytes is None
