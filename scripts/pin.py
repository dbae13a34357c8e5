"""Writes the lower half of a requirements file: everything that its upper half brings in, pinned.

Usage: python scripts/pin.py requirements.txt requirements/cpu.txt …
pip resolves each upper half, held to the pins that the other files name already, and installs nothing.
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
ENGINES = ("cpu.txt", "gpu.txt")  # one or the other, never both
MARKER = "# Brought in by the above (written by scripts/pin.py)."


def canonical(name: str) -> str:
    """The name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Canonical name -> version of every pinned line."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;#]+)", line)
        if match:
            found[canonical(match.group(1))] = match.group(2)
    return found


def upper_half(text: str) -> str:
    """What a person wrote."""
    return text.split(MARKER, maxsplit=1)[0].rstrip() + "\n"


def _resolve(upper: str, held: dict[str, str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        wanted, constraints, report = (
            Path(folder) / name for name in ("wanted.txt", "held.txt", "report.json")
        )
        wanted.write_text(upper, encoding="utf-8")
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in held.items()), "utf-8")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        subprocess.run(
            [*command, "-r", str(wanted), "-c", str(constraints), "--report", str(report)], check=True
        )
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {canonical(item["metadata"]["name"]): item["metadata"]["version"] for item in installs}


def _held(path: Path) -> dict[str, str]:
    """The pins of the files that are installed into one environment with this one."""
    if path not in {ROOT / name for name in FILES}:
        return {}
    found: dict[str, str] = {}
    for other in (ROOT / name for name in FILES):
        apart = path.name in ENGINES and other.name in ENGINES
        if other != path and not apart and other.name != "gpu.txt":
            found = {**pins(other.read_text(encoding="utf-8")), **found}
    return found


def pin(path: Path) -> None:
    """Rewrite the lower half of one file."""
    upper = upper_half(path.read_text(encoding="utf-8"))
    own = pins(upper)
    held = {name: version for name, version in _held(path).items() if name not in own}
    resolved = _resolve(upper, held)
    lower = "".join(f"{name}=={version}\n" for name, version in sorted(resolved.items()) if name not in own)
    path.write_text(f"{upper}\n{MARKER}\n{lower}", encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        pin(Path(argument).resolve())
