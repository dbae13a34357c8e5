"""Failures of scoring for a verification, told by the exit status of the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest

from tests.patience import PATIENCE_S
from training.child_process import ROOT, ChildResult
from training.engine.exit_codes import EXIT_OUT_OF_MEMORY
from training.engine.spec import ScoringSpec, TokenSequence
from training.publishing import scoring
from training.publishing.scoring import ScoringError, run_scoring
from training.publishing.verification import scoring_error

OUT_OF_MEMORY = """
import sys
from training.engine import __main__, scoring
def score(spec):
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
scoring.score = score
sys.exit(__main__.main(["score", sys.argv[1]]))
"""


def _spec(folder: Path) -> ScoringSpec:
    sequences = (TokenSequence((1,), (2,)),)
    return ScoringSpec(base_model=str(folder), adapter_dir=str(folder / "result"), sequences=sequences)


@pytest.mark.criterion("2.3")
@pytest.mark.parametrize(
    ("status", "code", "is_transient"),
    [
        (EXIT_OUT_OF_MEMORY, "out_of_memory", True),
        (-9, "out_of_memory", True),
        (137, "out_of_memory", True),
        (-15, "trainer_crashed", True),
        (1, "adapter_verification_failed", False),
    ],
)
def test_lack_of_memory_and_signals_are_no_faults_of_the_result(
    status: int, code: str, is_transient: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "run_child", Mock(return_value=ChildResult(status, b"", b"the last words")))

    with pytest.raises(ScoringError, match="the last words") as error:
        run_scoring(_spec(tmp_path), {}, lambda: None)

    failure = scoring_error(error.value).failure
    assert (failure.code, failure.is_transient) == (code, is_transient)


@pytest.mark.criterion("2.3")
def test_scoring_tells_lack_of_memory_by_its_exit_status(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_bytes(msgspec.json.encode(_spec(tmp_path)))
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(path)]

    end = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    assert end.returncode == EXIT_OUT_OF_MEMORY
    assert "can't allocate memory" in end.stderr
    assert not end.stdout
