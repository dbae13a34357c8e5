"""The order of the tests, their distribution over processes, and the table of seconds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.local.settings import ROOT
from tests.scheduling import ENGINE_TESTS, scope_of

TEST = "import time\ndef test_it(): time.sleep(0.1)\n"
FILES = [f"tests/{folder}/test_{letter}.py" for folder in ("relay", "stack", "contract") for letter in "ab"]
PLUGINS = ("xdist.plugin", "tests.scheduling", "tests.durations")


@pytest.fixture
def lines(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The output of two processes that run a test in each of the files."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in FILES:
        path = Path(pytester.path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEST)
    arguments = [part for plugin in PLUGINS for part in ("-p", plugin)]
    result = pytester.runpytest_subprocess(*arguments, "--import-mode=importlib", "-v", "-n", "2")
    result.assert_outcomes(passed=len(FILES))
    return result.outlines


def test_engine_tests_are_one_group_and_all_others_a_group_for_each_file() -> None:
    assert all((ROOT / path).exists() for path in ENGINE_TESTS)
    assert scope_of("tests/stack/test_a.py::test_b") == scope_of("tests/contract/test_c.py::test_d[e::f]")
    assert scope_of("tests/relay/test_a.py::test_b[c::d]") == "tests/relay/test_a.py"


def test_engine_tests_run_in_one_process_and_before_all_others(lines: list[str]) -> None:
    runs = [match.groups() for line in lines if (match := re.match(r"\[(gw\d)\].* (tests/\S+)::", line))]
    engine_processes = {process for process, path in runs if "relay" not in path}
    assert len(engine_processes) == 1
    engine_paths = [path for process, path in runs if process in engine_processes]
    assert engine_paths[:4] == FILES[2:]
    assert len({process for process, _ in runs}) == 2


def test_time_is_summed_by_folder_over_all_processes(lines: list[str]) -> None:
    table = [[cell.strip() for cell in line.split("|")] for line in lines if line.count("|") == 2]
    assert table[0] == ["seconds", "tests", "folder"]
    seconds = {folder: float(seconds) for seconds, _, folder in table[1:]}
    assert seconds.keys() == {"tests/relay", "tests/stack", "tests/contract", "all"}
    assert [tests for _, tests, _ in table[1:]] == ["2", "2", "2", "6"]
    assert all(0.2 <= seconds[folder] < 5 for folder in seconds)
    assert seconds["all"] >= 0.6
