"""Fails for Python files that are longer than the number of lines given: scripts/file_length.py 400."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def tracked(root: Path) -> list[Path]:
    """The Python files that git knows."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", "*.py", "scripts/check"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return [root / name for name in listed.stdout.split("\0") if name and (root / name).exists()]


def too_long(paths: list[Path], longest: int) -> list[tuple[Path, int]]:
    """The files with more lines than that, and how many they have."""
    counted = [(path, len(path.read_text(encoding="utf-8").splitlines())) for path in paths]
    return [(path, lines) for path, lines in counted if lines > longest]


def main(longest: int) -> int:
    """0 if there is none."""
    root = Path(__file__).resolve().parents[1]
    found = too_long(tracked(root), longest)
    for path, lines in found:
        print(f"{path.relative_to(root)}: {lines} lines, the limit is {longest}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
