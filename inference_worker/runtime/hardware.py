"""What this machine can do, and the engine settings that follow from it, each with its reason."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from inference_worker.runtime.settings import WorkerSettings

NATIVE_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
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
    """Look at the machine, without loading the engine."""
    return _detect_gpu() or _detect_cpu()


def _detect_gpu() -> Hardware | None:
    if shutil.which("nvidia-smi") is None:
        return None
    asked = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    if asked.returncode != 0 or not asked.stdout.strip():
        return None
    name, _, capability = asked.stdout.splitlines()[0].rpartition(",")
    return Hardware("gpu", name.strip(), os.cpu_count() or 1, float(capability) >= _AMPERE)


def _detect_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Hardware:
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
