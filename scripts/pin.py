"""Pin the transitive dependencies in the lower half of requirement files.

Usage: python scripts/pin.py requirements.txt requirements/cpu.txt …
pip resolves the upper half of each file, constrained by the pins of the other files, and installs nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("requirements.txt", "requirements/cpu.txt", "requirements/gpu.txt", "requirements/dev.txt")
ENGINES = ("cpu.txt", "gpu.txt")  # mutually exclusive
MARKER = "# Brought in by the above (written by scripts/pin.py)."


def canonical(name: str) -> str:
    """Return the normalized name of a package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Return the version of every pinned package, by normalized name."""
    versions = {}
    for line in text.splitlines():
        match = re.match(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;#]+)", line)
        if match:
            versions[canonical(match.group(1))] = match.group(2)
    return versions


def upper_half(text: str) -> str:
    """Return the hand-written half of a requirements file."""
    return text.split(MARKER, maxsplit=1)[0].rstrip() + "\n"


def _resolve(upper: str, constraints: dict[str, str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        requirements, constraints_file, report = (
            Path(folder) / name for name in ("requirements.txt", "constraints.txt", "report.json")
        )
        requirements.write_text(upper, encoding="utf-8")
        lines = "".join(f"{name}=={version}\n" for name, version in constraints.items())
        constraints_file.write_text(lines, encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        subprocess.run(
            [*command, "-r", str(requirements), "-c", str(constraints_file), "--report", str(report)],
            check=True,
        )
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {canonical(item["metadata"]["name"]): item["metadata"]["version"] for item in installs}


def _other_pins(path: Path) -> dict[str, str]:
    """Return the pins of the files that are installed into the same environment."""
    if path not in {ROOT / name for name in FILES}:
        return {}
    versions: dict[str, str] = {}
    for other in (ROOT / name for name in FILES):
        is_other_engine = path.name in ENGINES and other.name in ENGINES
        if other != path and not is_other_engine and other.name != "gpu.txt":
            versions = {**pins(other.read_text(encoding="utf-8")), **versions}
    return versions


def pin(path: Path) -> None:
    """Rewrite the lower half of a file."""
    upper = upper_half(path.read_text(encoding="utf-8"))
    own = pins(upper)
    constraints = {name: version for name, version in _other_pins(path).items() if name not in own}
    versions = _resolve(upper, constraints)
    lower = "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()) if name not in own)
    path.write_text(f"{upper}\n{MARKER}\n{lower}", encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        pin(Path(argument).resolve())
