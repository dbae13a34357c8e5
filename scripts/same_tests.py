"""Fail if two collections find different tests: the workers of a parallel run refuse to start then.

The collections run at different times, in different seconds, with different hashes, so that a
parameter made of a time, a random number or the order of a set shows itself.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INTERVAL_S = 1.5
COMMAND = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider"]


def collect(hash_seed: int) -> subprocess.Popen[str]:
    """Start a collection whose names of tests go to its standard output."""
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.Popen(COMMAND, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def names(collection: subprocess.Popen[str]) -> list[str]:
    """Wait for a collection; return the tests it found. Exits if it failed."""
    output, _ = collection.communicate()
    if collection.returncode:
        sys.exit(output)
    return [line for line in output.splitlines() if "::" in line]


def main() -> int:
    """Run the command; the exit status is 0 if both collections found the same."""
    first = collect(1)
    time.sleep(INTERVAL_S)
    second = collect(2)
    changes = list(difflib.unified_diff(names(first), names(second), "first", "second", n=0, lineterm=""))
    print("\n".join(changes))
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
