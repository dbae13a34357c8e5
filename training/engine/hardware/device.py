"""The device that trains: its numeric types, memory and load."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import torch


@dataclass(frozen=True)
class Device:
    """A device. ``has_fast_bfloat16``: it multiplies bfloat16 in hardware.

    ``memory_bytes`` are available now, of ``total_bytes``. ``sharers``: processes of the run that share them.
    """

    kind: str
    name: str
    memory_bytes: int
    has_fast_bfloat16: bool
    total_bytes: int = sys.maxsize
    sharers: int = 1

    @property
    def torch_device(self) -> torch.device:
        """The device in torch's terms."""
        return torch.device("cpu") if self.is_cpu else torch.device("cuda", torch.cuda.current_device())

    @property
    def is_cpu(self) -> bool:
        """True for the host's processor."""
        return self.kind == "cpu"


def local_device() -> Device:
    """Return the device that this process trains on."""
    if not torch.cuda.is_available():
        sharers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun
        return Device("cpu", "CPU", available_memory(), _has_bfloat16_kernels(), _total_memory(), sharers)
    free, total = torch.cuda.mem_get_info()
    name = torch.cuda.get_device_name()
    return Device("cuda", name, free, torch.cuda.is_bf16_supported(including_emulation=False), total)


def hardware_name(device: Device) -> str:
    """Return the device's model, which determines how results are rounded."""
    return _processor_name() if device.is_cpu else device.name


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.machine())} ({torch.backends.cpu.get_cpu_capability()})"


def available_memory() -> int:
    """Return the bytes of host memory that this process may still take within its control group."""
    free = psutil.virtual_memory().available
    limit, usage = _read_number("/sys/fs/cgroup/memory.max"), _read_number("/sys/fs/cgroup/memory.current")
    return free if limit is None or usage is None else min(free, max(0, limit - usage))


def _total_memory() -> int:
    limit = _read_number("/sys/fs/cgroup/memory.max")
    return min(filter(None, (psutil.virtual_memory().total, limit)))


def _read_number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123
            text = file.read().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _has_bfloat16_kernels() -> bool:
    capability = torch.backends.cpu.get_cpu_capability()
    flags = torch.cpu
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return capability == "AVX512" and any(getattr(flags, probe, lambda: False)() for probe in probes)


def thread_count() -> int:
    """Return the threads that training takes by default: the processors this process may use."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return int(setting) if setting.isdigit() and int(setting) else len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Load:
    """Use of memory and of the GPU. ``gpu_utilization``: 0 to 1 over the driver's last sample."""

    memory_bytes: int
    gpu_utilization: float | None
    gpu_memory_bytes: int | None


class LoadMeter:
    """Measures this process and, through NVML where it is installed, its GPU."""

    def measure(self) -> Load:
        """Return the current load. ``memory_bytes`` is the resident set of this process."""
        memory = psutil.Process().memory_info().rss
        if not torch.cuda.is_available():
            return Load(memory, None, None)
        return Load(memory, self._utilization(), torch.cuda.memory_reserved())

    @cached_property
    def _nvml(self) -> tuple[Any, Any] | None:
        try:
            import pynvml

            pynvml.nvmlInit()
            uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
            name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
            return pynvml, pynvml.nvmlDeviceGetHandleByUUID(name)
        except Exception:  # without the library, the driver's one or the right to read: no figures
            return None

    def _utilization(self) -> float | None:
        if self._nvml is None:
            return None
        library, handle = self._nvml
        try:
            return float(library.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        except library.NVMLError:  # not available for parts of a GPU (MIG)
            return None
