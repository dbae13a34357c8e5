"""Use of memory and of the GPU: through NVML where it can be read, and without figures elsewhere."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.engine.hardware.device import LoadMeter


class NVMLError(Exception):
    """The library's error."""


def _nvml(rates: Any) -> SimpleNamespace:
    """Return a library whose GPU has these rates, or raises this error."""

    def utilization(handle: str) -> Any:
        assert handle == "handle of GPU-1234"
        if isinstance(rates, Exception):
            raise rates
        return SimpleNamespace(gpu=rates)

    return SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda name: f"handle of {name}",
        nvmlDeviceGetUtilizationRates=utilization,
        NVMLError=NVMLError,
    )


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU with 5 GB reserved, as torch reports it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="1234"))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 5_000_000_000)


@pytest.mark.criterion("2.2")
@pytest.mark.parametrize(
    ("library", "utilization"),
    [(_nvml(87), 0.87), (_nvml(NVMLError("a part of a GPU")), None), (None, None)],
    ids=["NVML", "no figures of a part", "no library"],
)
def test_the_use_of_a_gpu_comes_from_nvml(
    gpu: None, monkeypatch: pytest.MonkeyPatch, library: Any, utilization: float | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library)

    load = LoadMeter().measure()

    assert (load.gpu_utilization, load.gpu_memory_bytes) == (utilization, 5_000_000_000)
    assert load.memory_bytes > 10_000_000


def test_without_a_gpu_there_are_no_figures_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    load = LoadMeter().measure()

    assert (load.gpu_utilization, load.gpu_memory_bytes) == (None, None)
