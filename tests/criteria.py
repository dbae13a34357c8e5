"""``pytest --criteria`` and ``--cases``: the tests of each criterion and case, and their results.

Criteria are the sixty of the requirements; cases are faults that users of comparable systems reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

REQUIREMENTS, PER_REQUIREMENT = 6, 10
CRITERIA = tuple(
    f"{requirement}.{number}"
    for requirement in range(1, REQUIREMENTS + 1)
    for number in range(1, PER_REQUIREMENT + 1)
)
CASES_BY_FILE = {"serving": 38, "training": 29, "clients": 29, "robustness": 18, "admin": 24}
CASES = tuple(f"{file}.{number}" for file, count in CASES_BY_FILE.items() for number in range(1, count + 1))
NOT_SHOWN = "no test"


@dataclass(frozen=True)
class Measure:
    """A mark of tests, ``@pytest.mark.<mark>(number, …)``, and its numbers."""

    mark: str
    plural: str
    numbers: tuple[str, ...]

    def of(self, item: pytest.Item) -> Iterator[str]:
        """Yield the numbers of a test. Raises UsageError for an unknown one."""
        for mark in item.iter_markers(self.mark):
            for number in mark.args:
                if number not in self.numbers:
                    raise pytest.UsageError(f"{item.nodeid}: there is no {self.mark} {number!r}")
                yield number


MEASURES = (Measure("criterion", "criteria", CRITERIA), Measure("case", "cases", CASES))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flags."""
    for measure in MEASURES:
        text = f"print the table of {measure.plural}"
        parser.addoption(f"--{measure.plural}", action="store_true", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Register a table for each flag."""
    for measure in MEASURES:
        if config.getoption(measure.plural):
            config.pluginmanager.register(MarkTable(measure), f"table-of-{measure.plural}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check the numbers of all marks, with or without the flags."""
    for item in items:
        for measure in MEASURES:
            list(measure.of(item))


class MarkTable:
    """Records the outcome of each marked test and prints one line per number."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._tests: dict[str, list[str]] = defaultdict(list)
        self._outcomes: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Record the selected tests of each number."""
        for item in session.items:
            for number in sorted(set(self._measure.of(item))):
                self._tests[number].append(item.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In a process of xdist, send the selected tests to the process that prints the table."""
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output[self._measure.plural] = dict(self._tests)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Receive the selected tests; all processes collect the same."""
        self._tests.update(getattr(node, "workeroutput", {}).get(self._measure.plural, {}))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the worst outcome of set-up, call and tear-down."""
        if report.failed:
            self._outcomes[report.nodeid] = "failed"
        elif report.skipped:
            self._outcomes.setdefault(report.nodeid, "skipped")
        elif report.when == "call":
            self._outcomes.setdefault(report.nodeid, "passed")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table and its totals."""
        measure = self._measure
        results = {number: self._result(number) for number in measure.numbers}
        width = max(len(measure.mark), *map(len, measure.numbers))
        terminalreporter.section(measure.plural)
        terminalreporter.write_line(f"{measure.mark:>{width}} | tests | result")
        for number, result in results.items():
            terminalreporter.write_line(f"{number:>{width}} | {len(self._tests[number]):>5} | {result}")
        passes = sum(result == "passed" for result in results.values())
        failures = [number for number, result in results.items() if result == "failed"]
        terminalreporter.write_line(
            f"{passes} of {len(measure.numbers)} {measure.plural} shown"
            + (f", failed: {', '.join(failures)}" if failures else "")
        )

    def _result(self, number: str) -> str:
        outcomes = [self._outcomes.get(test, "not run") for test in self._tests[number]]
        if not outcomes:
            return NOT_SHOWN
        for worst in ("failed", "not run", "skipped"):
            if worst in outcomes:
                return worst
        return "passed"
