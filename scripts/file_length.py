"""Fail for Python files longer than a limit. Usage: scripts/file_length.py 400."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def tracked_files(root: Path) -> list[Path]:
    """Return the Python files that git tracks, without migrations, which Django writes."""
    process = subprocess.run(
        ["git", "ls-files", "-z", "--", "*.py", "scripts/check"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    names = (name for name in process.stdout.split("\0") if name and "/migrations/" not in name)
    return [root / name for name in names if (root / name).exists()]


def long_files(paths: list[Path], limit: int) -> list[tuple[Path, int]]:
    """Return the files with more lines than the limit, and their number of lines."""
    counts = [(path, len(path.read_text(encoding="utf-8").splitlines())) for path in paths]
    return [(path, lines) for path, lines in counts if lines > limit]


def main(limit: int) -> int:
    """Run the command; the exit status is 0 if all files are within the limit."""
    root = Path(__file__).resolve().parents[1]
    files = long_files(tracked_files(root), limit)
    for path, lines in files:
        print(f"{path.relative_to(root)}: {lines} lines, limit {limit}")
    return 1 if files else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
