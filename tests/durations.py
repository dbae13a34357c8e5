"""Seconds by folder, printed at the end of a run: set-up, call and tear-down of all its tests.

Below them, how much of the processors nobody used: if it is much, another process would shorten the run.
"""

from __future__ import annotations

import time
from collections import defaultdict

import psutil
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the table in the process that prints the summary."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FolderTimes(), "seconds-by-folder")


class FolderTimes:
    """Sums the durations of all test phases by folder, over all processes of a run."""

    def __init__(self) -> None:
        self._start, self._idle_s = time.monotonic(), idle_s()
        self._seconds: dict[str, float] = defaultdict(float)
        self._tests: dict[str, int] = defaultdict(int)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase."""
        path = report.nodeid.partition("::")[0]
        folder = "/".join(path.split("/")[:2]) if path.count("/") > 1 else path
        self._seconds[folder] += report.duration
        self._tests[folder] += report.when == "setup"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table, unless all tests are of one folder."""
        if len(self._seconds) < 2:
            return
        rows = sorted(((seconds, folder) for folder, seconds in self._seconds.items()), reverse=True)
        terminalreporter.section("seconds by folder")
        terminalreporter.write_line("seconds | tests | folder")
        for seconds, folder in rows:
            terminalreporter.write_line(f"{seconds:>7.1f} | {self._tests[folder]:>5} | {folder}")
        total = sum(self._seconds.values())
        terminalreporter.write_line(f"{total:>7.1f} | {sum(self._tests.values()):>5} | all")
        seconds = time.monotonic() - self._start
        idle = (idle_s() - self._idle_s) / (seconds * (psutil.cpu_count() or 1))
        terminalreporter.write_line(f"{seconds / 60:.1f} minutes in all, processors idle for {idle:.0%}")


def idle_s() -> float:
    """Return the seconds that the machine's processors have been idle, summed over all of them."""
    return float(psutil.cpu_times().idle)
