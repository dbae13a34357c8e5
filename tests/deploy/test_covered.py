"""The check that certain modules are covered wholly tells what was not run, and of what is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from coverage import Coverage

from scripts import covered

BRANCHES = "import sys\nif len(sys.argv) > 5:\n    print(5)\nprint(1)\n"


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Coverage:
    """The coverage of two small modules, one of them run in part."""
    (tmp_path / "part.py").write_text(BRANCHES)
    (tmp_path / "whole.py").write_text("import part\nprint(part)\n")
    flags = ["--branch", "--data-file", "data", "--source", "."]
    subprocess.run(
        [sys.executable, "-m", "coverage", "run", *flags, "whole.py"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    monkeypatch.setattr(covered, "ROOT", tmp_path)
    coverage = Coverage(data_file=str(tmp_path / "data"), config_file=False)
    coverage.load()
    return coverage


def test_a_module_that_was_run_wholly_is_not_mentioned(measured: Coverage) -> None:
    assert covered.uncovered(measured, ("whole.py",)) == []


def test_lines_that_were_not_run_are_named(measured: Coverage) -> None:
    (found,) = covered.uncovered(measured, ("whole.py", "part.py"))
    assert "part.py" in found
    assert found.split()[-1] == "3"


def test_a_module_that_is_gone_is_a_fault_of_the_list(measured: Coverage) -> None:
    (found,) = covered.uncovered(measured, ("no_more.py",))
    assert found.startswith("no_more.py: no such file")


def test_every_module_of_the_list_is_there() -> None:
    assert [name for name in covered.WHOLLY if not (covered.ROOT / name).is_file()] == []
