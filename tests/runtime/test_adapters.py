"""A worker's adapters: the setting that lists them, their checks, and vLLM's arguments for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference_worker.runtime.adapters import (
    AdapterError,
    AdapterSource,
    adapter_arguments,
    adapter_sources,
)


def save_config(folder: Path, config: object) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_names_and_folders_are_parsed_from_one_line() -> None:
    assert adapter_sources(" ft:m:acme:x:1=/a/b , two=c=d,") == (
        AdapterSource("ft:m:acme:x:1", Path("/a/b")),
        AdapterSource("two", Path("c=d")),
    )
    assert adapter_sources("") == ()


@pytest.mark.parametrize("text", ["name", "name=", "=folder", "a b=folder", "x=1,x=2"])
def test_a_malformed_line_is_rejected(text: str) -> None:
    with pytest.raises(AdapterError):
        adapter_sources(text)


def test_the_engine_supports_the_highest_rank_of_the_adapters(tmp_path: Path) -> None:
    small, large = save_config(tmp_path / "small", {"r": 4}), save_config(tmp_path / "large", {"r": 24})
    sources = adapter_sources(f"a={small},b={large}")
    arguments = adapter_arguments(sources)
    assert arguments[arguments.index("--max-lora-rank") + 1] == "32"
    assert arguments[arguments.index("--lora-modules") + 1 :] == [f"a={small}", f"b={large}"]
    assert adapter_arguments(()) == []


@pytest.mark.parametrize(
    ("config", "fault"),
    [({"r": 1024}, "the maximum is 512"), ({"r": "8"}, "not a positive number"), ({}, "can't read")],
)
def test_the_error_for_an_unusable_adapter_names_it(tmp_path: Path, config: object, fault: str) -> None:
    folder = save_config(tmp_path / "adapter", config)
    with pytest.raises(AdapterError, match=fault):
        adapter_arguments(adapter_sources(f"mine={folder}"))


def test_the_error_for_a_folder_without_an_adapter_names_it(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"adapter mine.*saved by peft"):
        adapter_arguments(adapter_sources(f"mine={tmp_path}"))
