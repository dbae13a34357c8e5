"""Choice of the precision: from the request, the hardware and the checkpoint, always with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.engine.runs import make_spec, run_here
from training.engine.hardware.device import Device
from training.engine.hardware.precision import checkpoint_dtype, choose_precision
from training.engine.spec import TrainingOptions

CPU = Device("cpu", "CPU", 0, has_fast_bfloat16=False)
AMX = Device("cpu", "CPU", 0, has_fast_bfloat16=True)
AMPERE = Device("cuda", "A100", 0, has_fast_bfloat16=True)
TURING = Device("cuda", "T4", 0, has_fast_bfloat16=False)


@pytest.mark.case("training.16")
@pytest.mark.criterion("2.6")
@pytest.mark.parametrize(
    ("precision_option", "device", "dtype", "compute", "reason"),
    [
        ("auto", CPU, "bfloat16", "float32", "no bfloat16 arithmetic"),
        ("auto", AMX, "bfloat16", "bfloat16", "multiplies bfloat16"),
        ("auto", AMX, "float32", "float32", "reproducible"),
        ("auto", AMPERE, "float32", "bfloat16", "A100 supports bfloat16"),
        ("auto", TURING, "float16", "float16", "T4 supports float16 but not bfloat16"),
        ("auto", TURING, "bfloat16", "float32", "float16 can't represent"),
        ("float16", TURING, "float32", "float16", "requested"),
        ("float16", AMPERE, "bfloat16", "bfloat16", "range float16 lacks"),
        ("float16", TURING, "bfloat16", "float32", "range float16 lacks"),
        ("float16", CPU, "float32", "float32", "a CPU can't train in it"),
        ("bfloat16", TURING, "float32", "float32", "T4 has no bfloat16 arithmetic"),
        ("bfloat16", AMPERE, "float32", "bfloat16", "requested"),
        ("float32", AMPERE, "bfloat16", "float32", "requested"),
    ],
)
def test_precision(precision_option: Any, device: Device, dtype: str, compute: str, reason: str) -> None:
    precision = choose_precision(TrainingOptions(precision=precision_option), device, dtype)

    assert precision.compute == compute
    assert reason in precision.reason
    assert precision.weights == compute


@pytest.mark.criterion("2.6")
def test_weights_that_are_trained_stay_in_float32() -> None:
    precision = choose_precision(TrainingOptions(adapter="full"), AMPERE, "bfloat16")

    assert (precision.compute, precision.weights) == ("bfloat16", "float32")


def test_the_type_of_a_checkpoint_is_read_from_old_and_new_configurations(tmp_path: Path) -> None:
    for config, expected in (
        ({"torch_dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "float16"}, "float16"),
        ({}, "float32"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert checkpoint_dtype(tmp_path) == expected


@pytest.mark.case("training.16")
@pytest.mark.criterion("2.6")
def test_a_run_reports_the_fallback(tiny_model: Path, tmp_path: Path) -> None:
    outcome = run_here(make_spec(tmp_path, tiny_model, epochs=1, options={"precision": "float16"}))

    choice = outcome.choice("precision")
    assert choice.value == "float32"
    assert choice.reason == "float16 was requested, but a CPU can't train in it"
    assert outcome.losses[3] < outcome.losses[1]
