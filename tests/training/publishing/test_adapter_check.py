"""The check before publishing: complete, finite, of this base model, and nothing that engines ignore."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.tuned import save_adapter
from training.model_files.tensor_headers import TensorFileError, read_tensors
from training.publishing.adapter_check import InvalidAdapterError, check_adapter

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
LAYER = "base_model.model.model.layers.0.self_attn"


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "right", seed=1)


def changed(
    adapter: Path,
    folder: Path,
    weights: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None,
    **config: Any,
) -> Path:
    """Return a copy with changed weights or configuration."""
    shutil.copytree(adapter, folder)
    if weights is not None:
        save_file(weights(load_file(folder / WEIGHTS)), folder / WEIGHTS)
    fields = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**fields, **config}))
    return folder


def without(text: str) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    return lambda weights: {name: value for name, value in weights.items() if text not in name}


def with_value(value: float) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    def change(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        weights[f"{LAYER}.v_proj.lora_B.weight"][3, 1] = value
        return weights

    return change


@pytest.mark.parametrize(
    ("options", "rank", "modules"),
    [
        ({}, 8, 4),
        ({"rank": 4, "target_modules": "all-linear"}, 4, 14),
        ({"rank": 4, "rank_pattern": {"v_proj": 16}, "alpha_pattern": {"q_proj": 5}}, 16, 4),
        ({"use_rslora": True}, 8, 4),
        ({"target_modules": r".*layers\.1\..*(q|k)_proj"}, 8, 2),
    ],
)
def test_adapters_that_peft_saves_pass(
    tiny_model: Path, tmp_path: Path, options: dict[str, Any], rank: int, modules: int
) -> None:
    summary = check_adapter(save_adapter(tiny_model, tmp_path / "a", seed=2, **options), tiny_model)
    assert (summary.rank, len(summary.modules)) == (rank, modules)


@pytest.mark.case("training.21")
@pytest.mark.case("training.22")
@pytest.mark.parametrize(
    ("weights", "config", "fault"),
    [
        (without("v_proj"), {}, r"weights are missing: .*layers\.0\.self_attn\.v_proj\.lora_A"),
        (without("layers.1"), {}, r"weights are missing: .*layers\.1"),
        (without("lora_A"), {}, "and 1 more"),
        (None, {"target_modules": ["q_proj"]}, "no place for .*v_proj"),
        (None, {"target_modules": ["q_proj", "v_proj", "w_proj"]}, "no linear module w_proj"),
        (None, {"target_modules": ["q_proj", "v_proj", "embed_tokens"]}, "no linear module embed_tokens"),
        (None, {"target_modules": ["q_proj", "v_proj", "lm_head"]}, "no linear module lm_head"),
        (None, {"target_modules": []}, "no target_modules"),
        (None, {"target_modules": "("}, "not a valid pattern"),
        (None, {"r": 4}, r"has shape \(8, 64\), expected \(4, 64\)"),
        (None, {"r": 1024}, "rank 1024"),
        (None, {"rank_pattern": {"v_proj": 0}}, "rank 0"),
        (None, {"use_dora": True}, "use_dora"),
        (None, {"modules_to_save": ["lm_head"]}, "modules_to_save"),
        (None, {"bias": "all"}, "bias"),
        (None, {"init_lora_weights": "pissa"}, "pissa"),
        (None, {"layers_to_transform": [0]}, "layers_to_transform"),
        (None, {"peft_type": "IA3"}, "IA3, not LORA"),
        (lambda w: {**w, "extra.weight": np.zeros((2, 2), "f4")}, {}, "no place for extra.weight"),
    ],
)
def test_what_an_engine_would_ignore_or_refuse_is_named(
    adapter: Path, tiny_model: Path, tmp_path: Path, weights: Any, config: dict[str, Any], fault: str
) -> None:
    with pytest.raises(InvalidAdapterError, match=fault):
        check_adapter(changed(adapter, tmp_path / "a", weights, **config), tiny_model)


@pytest.mark.case("training.9")
@pytest.mark.criterion("2.6")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_value_that_is_not_finite_is_never_published(
    adapter: Path, tiny_model: Path, tmp_path: Path, value: float, dtype: str
) -> None:
    def change(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: tensor.astype(dtype) for name, tensor in with_value(value)(weights).items()}

    with pytest.raises(
        InvalidAdapterError, match=r"layers\.0\.self_attn\.v_proj\.lora_B\.weight .* not finite"
    ):
        check_adapter(changed(adapter, tmp_path / "a", change), tiny_model)


@pytest.mark.case("training.9")
@pytest.mark.parametrize("value", [float("nan"), 1.0])
def test_values_of_bfloat16_are_read_as_such(
    adapter: Path, tiny_model: Path, tmp_path: Path, value: float
) -> None:
    import torch
    from safetensors.torch import load_file as load_tensors
    from safetensors.torch import save_file as save_tensors

    folder = changed(adapter, tmp_path / "a")
    tensors = {name: tensor.bfloat16() for name, tensor in load_tensors(folder / WEIGHTS).items()}
    tensors[f"{LAYER}.q_proj.lora_A.weight"][0, 0] = torch.tensor(value)
    save_tensors(tensors, folder / WEIGHTS)
    if value == value:
        assert check_adapter(folder, tiny_model).rank == 8
    else:
        with pytest.raises(InvalidAdapterError, match="not finite"):
            check_adapter(folder, tiny_model)


def test_an_adapter_that_changes_nothing_is_refused(adapter: Path, tiny_model: Path, tmp_path: Path) -> None:
    def change(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: tensor * ("lora_A" in name) for name, tensor in weights.items()}

    with pytest.raises(InvalidAdapterError, match="changes nothing"):
        check_adapter(changed(adapter, tmp_path / "a", change), tiny_model)


def test_an_adapter_of_another_base_model_is_refused(adapter: Path, tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    weights = load_file(tiny_model / "model.safetensors")
    wider = {name: np.concatenate([tensor, tensor], -1) for name, tensor in weights.items()}
    save_file(wider, other / "model.safetensors")
    with pytest.raises(InvalidAdapterError, match=r"has shape \(8, 64\), expected \(8, 128\)"):
        check_adapter(adapter, other)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_missing_or_damaged_file_is_named(
    adapter: Path, tiny_model: Path, tmp_path: Path, name: str
) -> None:
    folder = changed(adapter, tmp_path / "a")
    (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    with pytest.raises(InvalidAdapterError, match=name):
        check_adapter(folder, tiny_model)
    (folder / name).unlink()
    with pytest.raises(InvalidAdapterError, match=f"{name} is missing"):
        check_adapter(folder, tiny_model)


def test_headers_are_read_as_the_library_reads_them(adapter: Path) -> None:
    expected = {name: value.shape for name, value in load_file(adapter / WEIGHTS).items()}
    assert {name: tensor.shape for name, tensor in read_tensors(adapter / WEIGHTS).items()} == expected


def test_a_header_that_does_not_fit_the_file_is_refused_whatever_is_damaged(
    adapter: Path, tmp_path: Path
) -> None:
    data = (adapter / WEIGHTS).read_bytes()
    length = int.from_bytes(data[:8], "little")
    target = tmp_path / WEIGHTS
    damaged_tensors = [
        data[:4],
        data[: 8 + length - 5],
        data + b"x",
        (10**12).to_bytes(8, "little") + data[8:],
        data.replace(b"[0,", b"[4,", 1),
        data[:8] + b"[]".ljust(length) + data[8 + length :],
    ]
    for content in damaged_tensors:
        target.write_bytes(content)
        with pytest.raises(TensorFileError):
            read_tensors(target)


ENTRY = '{"a": {"dtype": "F32", "shape": %s, "data_offsets": %s}}'


@pytest.mark.parametrize(
    "header",
    [
        "[" * 200_000,
        '{"a": ' * 100_000,
        "null",
        ENTRY % ("[1e400]", "[0, 4]"),
        ENTRY % ("[1]", "[0.0, 4.0]"),
        ENTRY % ('"1"', "[0, 4]"),
        ENTRY % ("[-1, -1]", "[0, 4]"),
        ENTRY % ("[true]", "[0, 4]"),
        ENTRY % ("[1]", "[-4, 4]"),
        ENTRY % (f"[{'9' * 5000}]", "[0, 4]"),
    ],
)
def test_a_hostile_header_is_refused(tmp_path: Path, header: str) -> None:
    target = tmp_path / WEIGHTS
    target.write_bytes(len(header).to_bytes(8, "little") + header.encode() + b"1234")
    with pytest.raises(TensorFileError, match=WEIGHTS):
        read_tensors(target)


def test_a_pipe_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / WEIGHTS)
    with pytest.raises(TensorFileError, match="is not a file"):
        read_tensors(tmp_path / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rank_pattern": {"(": 4}}, "not a valid pattern"),
        ({"rank_pattern": 5}, "not an object"),
        ({"target_modules": "("}, "not a valid pattern"),
        ("[" * 200_000, "damaged"),
    ],
)
def test_a_hostile_configuration_is_refused(
    adapter: Path, tiny_model: Path, tmp_path: Path, change: Any, reason: str
) -> None:
    folder = changed(adapter, tmp_path / "a")
    config = json.loads((folder / CONFIG).read_text())
    text = change if isinstance(change, str) else json.dumps({**config, **change})
    (folder / CONFIG).write_text(text)
    with pytest.raises(InvalidAdapterError, match=reason):
        check_adapter(folder, tiny_model)
