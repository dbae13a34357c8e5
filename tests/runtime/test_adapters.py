"""The adapters of a worker: which are named, what vLLM is told of them, and what is refused."""

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


def saved(folder: Path, config: object) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_names_and_folders_are_read_from_one_line() -> None:
    assert adapter_sources(" ft:m:acme:x:1=/a/b , two=c=d,") == (
        AdapterSource("ft:m:acme:x:1", Path("/a/b")),
        AdapterSource("two", Path("c=d")),
    )
    assert adapter_sources("") == ()


@pytest.mark.parametrize("text", ["name", "name=", "=folder", "a b=folder", "x=1,x=2"])
def test_a_line_that_means_nothing_clear_is_refused(text: str) -> None:
    with pytest.raises(AdapterError):
        adapter_sources(text)


def test_the_engine_is_given_room_for_the_highest_rank(tmp_path: Path) -> None:
    small, large = saved(tmp_path / "small", {"r": 4}), saved(tmp_path / "large", {"r": 24})
    sources = adapter_sources(f"a={small},b={large}")
    arguments = adapter_arguments(sources)
    assert arguments[arguments.index("--max-lora-rank") + 1] == "32"
    assert arguments[arguments.index("--lora-modules") + 1 :] == [f"a={small}", f"b={large}"]
    assert adapter_arguments(()) == []


@pytest.mark.parametrize(
    ("config", "fault"),
    [({"r": 1024}, "512 is the highest"), ({"r": "8"}, "no positive number"), ({}, "can't be read")],
)
def test_an_adapter_that_can_not_be_served_is_named(tmp_path: Path, config: object, fault: str) -> None:
    folder = saved(tmp_path / "adapter", config)
    with pytest.raises(AdapterError, match=fault):
        adapter_arguments(adapter_sources(f"mine={folder}"))


def test_a_folder_without_an_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"adapter mine.*saved by peft"):
        adapter_arguments(adapter_sources(f"mine={tmp_path}"))
