"""The bundled model's folder is complete or absent."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.local.demo.default_model import MARKER, complete_folder, is_model_complete, prepare_model


def test_the_bundled_model_is_complete_and_prepared_once(smollm2: Path) -> None:
    assert is_model_complete(smollm2)
    assert prepare_model(smollm2) is False
    config = json.loads((smollm2 / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (smollm2 / "model.safetensors").stat().st_size > 500_000_000


def _create(folder: Path) -> Path:
    partial = folder.with_name("model.partial")
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"weights")
    complete_folder(partial, folder)
    return folder


def test_a_truncated_file_makes_the_folder_incomplete(tmp_path: Path) -> None:
    folder = _create(tmp_path / "model")
    assert is_model_complete(folder)
    (folder / "model.safetensors").write_bytes(b"weig")
    assert not is_model_complete(folder)


def test_a_folder_without_its_marker_is_incomplete(tmp_path: Path) -> None:
    folder = _create(tmp_path / "model")
    (folder / MARKER).unlink()
    assert not is_model_complete(folder)
    assert not is_model_complete(tmp_path / "nothing")


def test_a_finished_folder_replaces_an_incomplete_one(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "half").write_text("of something")
    _create(folder)
    assert is_model_complete(folder)
    assert sorted(path.name for path in folder.iterdir()) == [MARKER, "model.safetensors"]
    assert not folder.with_name("model.partial").exists()
