"""A worker's adapters: the setting that lists them, their checks, and vLLM's arguments for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from inference_worker.protocol.messages import AdapterRef, FailureKind
from inference_worker.runtime.adapters.errors import AdapterUnavailableError
from inference_worker.runtime.adapters.static import AdapterError, AdapterSource, adapter_sources
from inference_worker.runtime.engines.hardware import Hardware
from inference_worker.runtime.engines.vllm_adapters import (
    CPU_EXTENSION,
    VllmAdapters,
    adapter_arguments,
    max_lora_rank,
)
from inference_worker.runtime.settings import WorkerSettings

CPU = Hardware("cpu", "a CPU", 2, False)
GPU = Hardware("gpu", "a GPU", 16, True)


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


def worker_settings(**changes: Any) -> WorkerSettings:
    return WorkerSettings(CYLLM_REDIS_URL="redis://localhost/0", model="m", **changes)


def test_the_engine_supports_the_highest_rank_of_the_adapters(tmp_path: Path) -> None:
    small, large = save_config(tmp_path / "small", {"r": 4}), save_config(tmp_path / "large", {"r": 24})
    settings = worker_settings(adapters=f"a={small},b={large}", max_adapters=10)
    static = adapter_arguments(settings, GPU, 0)
    assert option(static, "--max-lora-rank") == "32"
    assert (option(static, "--max-loras"), option(static, "--max-cpu-loras")) == ("2", "2")
    assert static[static.index("--lora-modules") + 1 :] == [f"a={small}", f"b={large}"]
    both = adapter_arguments(settings, GPU, 64)
    assert option(both, "--max-lora-rank") == "64"
    assert (option(both, "--max-loras"), option(both, "--max-cpu-loras")) == ("8", "12")


def test_a_worker_without_adapters_runs_the_engine_without_them(tmp_path: Path) -> None:
    assert adapter_arguments(worker_settings(), GPU, 0) == []


def test_on_a_cpu_the_engine_applies_adapters_with_our_operations() -> None:
    assert option(adapter_arguments(worker_settings(), CPU, 8), "--worker-extension-cls") == CPU_EXTENSION
    assert "--worker-extension-cls" not in adapter_arguments(worker_settings(), GPU, 8)


@pytest.mark.parametrize(
    ("setting", "is_supported", "rank"),
    [(None, True, 32), (None, False, 0), (0, True, 0), (20, False, 32), (64, True, 64)],
)
def test_adapters_are_on_by_default_if_the_engine_can_apply_them(
    setting: int | None, is_supported: bool, rank: int
) -> None:
    assert max_lora_rank(worker_settings(max_lora_rank=setting), lambda: is_supported) == rank


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


@pytest.mark.parametrize(
    ("config", "fault"),
    [({"r": 1024}, "the maximum is 512"), ({"r": "8"}, "not a positive number"), ({}, "can't read")],
)
def test_the_error_for_an_unusable_adapter_names_it(tmp_path: Path, config: object, fault: str) -> None:
    folder = save_config(tmp_path / "adapter", config)
    with pytest.raises(AdapterError, match=fault):
        adapter_arguments(worker_settings(adapters=f"mine={folder}"), GPU, 0)


def test_the_error_for_a_folder_without_an_adapter_names_it(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"adapter mine.*saved by peft"):
        adapter_arguments(worker_settings(adapters=f"mine={tmp_path}"), GPU, 0)


@dataclass(frozen=True)
class _EngineError:
    """An error of the engine's registry of models."""

    code: HTTPStatus
    message: str = "no"


class _FailingAdapters(VllmAdapters):
    """An engine that answers each load with the same error."""

    def __init__(self, code: HTTPStatus) -> None:
        self.error = _EngineError(code)

    async def _add(self, *_: object) -> _EngineError:
        return self.error


@pytest.mark.parametrize(
    ("code", "kind"),
    [(HTTPStatus.NOT_FOUND, FailureKind.REFUSED), (HTTPStatus.BAD_REQUEST, FailureKind.ENGINE)],
)
async def test_an_adapter_that_was_removed_from_the_cache_again_can_be_tried_elsewhere(
    code: HTTPStatus, kind: FailureKind
) -> None:
    ref = AdapterRef(name="ft:a", base_model="a", sha256="0" * 64, rank=8)
    with pytest.raises(AdapterUnavailableError) as excinfo:
        await _FailingAdapters(code).load(ref, "adapter@0")
    assert excinfo.value.kind == kind
