"""The script of all checks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_an_unknown_check_is_named_with_the_known_ones() -> None:
    arguments = [sys.executable, "scripts/check", "format", "spelling", "--help"]
    process = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith("unknown checks: spelling, --help. Choose from format, lint, length,")
