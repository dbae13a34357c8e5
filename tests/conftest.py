"""Fixtures and hooks for all tests, from the modules named here."""

from __future__ import annotations

import signal

pytest_plugins = [
    "pytester",
    "tests.embedded",
    "tests.flush",
    "tests.static_files",
    "tests.languages",
    "tests.models",
    "tests.criteria",
    "tests.compatibility",
    "tests.people",
    "tests.browser",
    "tests.scheduling",
    "tests.durations",
    "tests.garbage",
    "tests.measured",
    "tests.fuzzing.options",
    "tests.validated_traffic",
    "tests.vllm_programs",
    "tests.contract.client_environments",
]


def pytest_configure() -> None:
    """Let child processes react to SIGINT; those of a run in the background would ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
