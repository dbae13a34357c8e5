"""``pytest --criteria``: which tests show which requirement criterion, and whether they pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest

REQUIREMENTS, PER_REQUIREMENT = 6, 10
CRITERIA = tuple(
    f"{requirement}.{number}"
    for requirement in range(1, REQUIREMENTS + 1)
    for number in range(1, PER_REQUIREMENT + 1)
)
NOT_SHOWN = "no test"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag."""
    parser.addoption("--criteria", action="store_true", help="print the table of requirement criteria")


def pytest_configure(config: pytest.Config) -> None:
    """Collect only when asked to."""
    if config.getoption("criteria"):
        config.pluginmanager.register(CriteriaTable(), "criteria-table")


def _numbers(item: pytest.Item) -> Iterator[str]:
    for mark in item.iter_markers("criterion"):
        for number in mark.args:
            if number not in CRITERIA:
                raise pytest.UsageError(f"{item.nodeid}: there is no criterion {number!r}")
            yield number


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A mark with a wrong number is an error, with or without the flag."""
    for item in items:
        list(_numbers(item))


class CriteriaTable:
    """Remembers each marked test's outcome and prints one line per criterion."""

    def __init__(self) -> None:
        self._tests: dict[str, list[str]] = defaultdict(list)
        self._outcomes: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which tests were selected for which criterion."""
        for item in session.items:
            for number in sorted(set(_numbers(item))):
                self._tests[number].append(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The worst phase decides: set-up and tear-down may fail or skip as well."""
        if report.failed:
            self._outcomes[report.nodeid] = "failed"
        elif report.skipped:
            self._outcomes.setdefault(report.nodeid, "skipped")
        elif report.when == "call":
            self._outcomes.setdefault(report.nodeid, "passed")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table and what it comes to."""
        results = {number: self._result(number) for number in CRITERIA}
        terminalreporter.section("criteria")
        terminalreporter.write_line("criterion | tests | result")
        for number, result in results.items():
            terminalreporter.write_line(f"{number:>9} | {len(self._tests[number]):>5} | {result}")
        shown = sum(result == "passed" for result in results.values())
        failed = [number for number, result in results.items() if result == "failed"]
        terminalreporter.write_line(
            f"{shown} of {len(CRITERIA)} criteria shown"
            + (f", failed: {', '.join(failed)}" if failed else "")
        )

    def _result(self, number: str) -> str:
        outcomes = [self._outcomes.get(test, "not run") for test in self._tests[number]]
        if not outcomes:
            return NOT_SHOWN
        for worst in ("failed", "not run", "skipped"):
            if worst in outcomes:
                return worst
        return "passed"
