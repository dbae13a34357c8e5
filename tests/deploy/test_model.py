"""The bundled model: whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.local.demo.default_model import COMPLETE, folder_publish, model_prepare, model_ready


def test_the_bundled_model_is_complete_and_prepared_once(smollm2: Path) -> None:
    assert model_ready(smollm2)
    assert model_prepare(smollm2) is False
    config = json.loads((smollm2 / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (smollm2 / "model.safetensors").stat().st_size > 500_000_000


def _made(folder: Path) -> Path:
    partial = folder.with_name("model.partial")
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"weights")
    folder_publish(partial, folder)
    return folder


def test_a_truncated_file_makes_the_folder_incomplete(tmp_path: Path) -> None:
    folder = _made(tmp_path / "model")
    assert model_ready(folder)
    (folder / "model.safetensors").write_bytes(b"weig")
    assert not model_ready(folder)


def test_a_folder_without_its_mark_is_incomplete(tmp_path: Path) -> None:
    folder = _made(tmp_path / "model")
    (folder / COMPLETE).unlink()
    assert not model_ready(folder)
    assert not model_ready(tmp_path / "nothing")


def test_a_finished_folder_takes_the_place_of_a_half_made_one(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "half").write_text("of something")
    _made(folder)
    assert model_ready(folder)
    assert sorted(path.name for path in folder.iterdir()) == [COMPLETE, "model.safetensors"]
    assert not folder.with_name("model.partial").exists()
