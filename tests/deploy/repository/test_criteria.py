"""The tables of ``pytest --criteria`` and ``pytest --cases``."""

from __future__ import annotations

import pytest

from deploy.local.settings import ROOT
from tests.criteria import CASES, CRITERIA

TESTS = """
import pytest

@pytest.mark.criterion("1.1")
def test_good(): pass

@pytest.mark.criterion("1.1")
@pytest.mark.criterion("2.10")
def test_bad(): assert False

@pytest.mark.criterion("3.4", "3.5")
def test_both(): pass

@pytest.mark.skip(reason="no GPU")
@pytest.mark.criterion("4.8")
def test_left_out(): pass

@pytest.fixture
def broken(): raise RuntimeError

@pytest.mark.criterion("5.1")
def test_set_up_breaks(broken): pass
"""


def _run(pytester: pytest.Pytester, tests: str, *flags: str) -> pytest.RunResult:
    pytester.makepyfile(tests)
    pytester.makeini(
        "[pytest]\nmarkers =\n  criterion(number): shown by this test\n  case(number): shown by this test\n"
    )
    plugins = ("-p", "tests.criteria", "-p", "no:django", "-p", "no:cacheprovider", "-p", "no:asyncio")
    return pytester.runpytest_inprocess(*plugins, *flags)


def test_there_are_sixty_criteria() -> None:
    assert len(CRITERIA) == 60
    assert (CRITERIA[0], CRITERIA[9], CRITERIA[-1]) == ("1.1", "1.10", "6.10")


def test_the_table_has_the_worst_result_of_each_criterion(pytester: pytest.Pytester) -> None:
    lines = [line.strip() for line in _run(pytester, TESTS, "--criteria").outlines]
    assert "1.1 |     2 | failed" in lines
    assert "2.10 |     1 | failed" in lines
    assert "3.4 |     1 | passed" in lines
    assert "3.5 |     1 | passed" in lines
    assert "4.8 |     1 | skipped" in lines
    assert "5.1 |     1 | failed" in lines
    assert "6.10 |     0 | no test" in lines
    assert "2 of 60 criteria shown, failed: 1.1, 2.10, 5.1" in lines
    assert len([line for line in lines if line.count("|") == 2]) == 61


def test_the_table_is_the_same_when_several_processes_run_the_tests(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    serial, parallel = (
        [line for line in _run(pytester, TESTS, "--criteria", "-n", number).outlines if line.count("|") == 2]
        for number in ("0", "2")
    )
    assert parallel == serial
    assert len(parallel) == 61


def test_nothing_is_printed_without_the_flag(pytester: pytest.Pytester) -> None:
    assert "criteria" not in _run(pytester, TESTS).stdout.str()


def test_an_unknown_criterion_is_rejected(pytester: pytest.Pytester) -> None:
    tests = "import pytest\n@pytest.mark.criterion('7.1')\ndef test_it(): pass\n"
    result = _run(pytester, tests)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "there is no criterion '7.1'" in result.stderr.str()


def test_cases_have_a_table_of_their_own(pytester: pytest.Pytester) -> None:
    tests = "import pytest\n@pytest.mark.case('serving.28')\ndef test_it(): pass\n"
    lines = [line.strip() for line in _run(pytester, tests, "--cases").outlines]
    assert "serving.28 |     1 | passed" in lines
    assert f"1 of {len(CASES)} cases shown" in lines
    failure = _run(pytester, tests.replace("28", "39"))
    assert "there is no case 'serving.39'" in failure.stderr.str()
