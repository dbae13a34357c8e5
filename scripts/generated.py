"""Files in the docs that are made from the code: written, or checked to be current."""

from __future__ import annotations

import sys
from pathlib import Path


def write_or_check(file: Path, text: str, arguments: list[str]) -> int:
    """Write the file, or with ``--check`` only compare it; the exit status, 1 if it is out of date."""
    if arguments != ["--check"]:
        file.write_text(text, encoding="utf-8")
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return 0
    print(f"docs/{file.name} is out of date: run {sys.argv[0]}", file=sys.stderr)
    return 1
