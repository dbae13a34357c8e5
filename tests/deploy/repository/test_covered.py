"""The coverage check reports uncovered lines and missing files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from coverage import Coverage

from scripts import covered
from tests.measured import MEASURED, is_measured

BRANCHES = "import sys\nif len(sys.argv) > 5:\n    print(5)\nprint(1)\n"


@pytest.fixture
def coverage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Coverage:
    """Coverage of two small modules, one of them partly executed."""
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
    result = Coverage(data_file=str(tmp_path / "data"), config_file=False)
    result.load()
    return result


def test_a_fully_covered_module_is_not_reported(coverage: Coverage) -> None:
    assert covered.find_gaps(coverage, ("whole.py",)) == []


def test_uncovered_lines_are_reported(coverage: Coverage) -> None:
    (line,) = covered.find_gaps(coverage, ("whole.py", "part.py"))
    assert "part.py" in line
    assert line.split()[-1] == "3"


def test_a_missing_module_is_reported(coverage: Coverage) -> None:
    (line,) = covered.find_gaps(coverage, ("no_more.py",))
    assert line.startswith("no_more.py: no such file")


def test_every_listed_module_exists() -> None:
    assert [name for name in covered.FULLY_COVERED if not (covered.ROOT / name).is_file()] == []


def test_only_the_tests_of_critical_modules_are_measured_unless_a_source_is_named() -> None:
    assert all(list(covered.ROOT.glob(f"{prefix}*")) for prefix in MEASURED)
    assert is_measured("tests/gateway/access/test_a.py::test_b", [True])
    assert not is_measured("tests/site/admin/test_a.py::test_b", [True])
    assert is_measured("tests/site/admin/test_a.py::test_b", ["cyllm_site"])
