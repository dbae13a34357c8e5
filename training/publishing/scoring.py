"""Runs ``python -m training.engine score`` as a child process."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from training.child_process import SIGKILL_CODES, run_child
from training.engine.exit_codes import EXIT_OUT_OF_MEMORY
from training.engine.spec import Scores, ScoringSpec

MAX_ERROR_CHARS = 2000
OUT_OF_MEMORY_CODES = (EXIT_OUT_OF_MEMORY, *SIGKILL_CODES)


class ScoringError(Exception):
    """The child process failed. The text is its exit status and the end of its standard error."""

    def __init__(self, code: int, errors: str) -> None:
        super().__init__(f"status {code}: {errors}")
        self.is_out_of_memory = code in OUT_OF_MEMORY_CODES
        self.is_killed = code < 0


def run_scoring(spec: ScoringSpec, environment: Mapping[str, str], check: Callable[[], None]) -> Scores:
    """Return the scores. ``check`` is called while it runs, and may raise to end it. Raises ScoringError."""
    with tempfile.TemporaryDirectory(prefix="cyllm-scoring-", dir=Path(spec.adapter_dir).parent) as folder:
        path = Path(folder) / "spec.json"
        path.write_bytes(msgspec.json.encode(spec))
        command = [sys.executable, "-m", "training.engine", "score", str(path)]
        result = run_child(command, environment=environment, check=check)
    if result.code != 0:
        text = result.errors.decode(errors="replace")[-MAX_ERROR_CHARS:]
        raise ScoringError(result.code, text)
    return msgspec.json.decode(result.output, type=Scores)
