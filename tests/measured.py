"""The scope of a plain ``--cov``: the import of the critical modules, and the tests that must cover them.

Measuring slows a test's process by half. With ``--cov=FOLDER``, everything is measured.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Sequence

import pytest
from coverage import Coverage

from scripts.covered import FULLY_COVERED

# Beginnings of the paths of tests. Other tests use the platform through its pages, or in processes of its
# own. ``scripts/covered.py`` fails if these tests leave a line of a critical module uncovered.
MEASURED = (
    *("tests/gateway/", "tests/openai/", "tests/quotas/", "tests/registry/", "tests/relay/"),
    *("tests/site/processes/", "tests/usage/"),
    *("tests/tenants/test_admin.py", "tests/tenants/test_audit", "tests/tenants/test_keys"),
    *("tests/tenants/test_ledger", "tests/tenants/test_limit", "tests/tenants/test_long_tasks"),
    *("tests/tenants/test_roles", "tests/tenants/test_services"),
)


def is_measured(node_id: str, sources: Sequence[str | bool]) -> bool:
    """Return whether a test is measured. ``sources``: values of ``--cov``, True for one without a folder."""
    return node_id.startswith(MEASURED) or any(source is not True for source in sources)


def _pausable_coverage(config: pytest.Config, node_id: str = "") -> Coverage | None:
    """Return the measurement if it runs and may pause during a test, or, without its id, between tests."""
    sources = config.getoption("cov_source", None) or []
    return None if is_measured(node_id, sources) else Coverage.current()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Import the critical modules, then pause the measurement during the import of all tests."""
    coverage = _pausable_coverage(session.config)
    if coverage is None or session.config.getoption("dist", "no") != "no":
        return (yield)
    for name in FULLY_COVERED:
        importlib.import_module(name.removesuffix(".py").replace("/", "."))
    coverage.stop()
    try:
        return (yield)
    finally:
        coverage.start()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Pause the measurement during a test that isn't measured."""
    coverage = _pausable_coverage(item.config, item.nodeid)
    if coverage is None:
        return (yield)
    coverage.stop()
    try:
        return (yield)
    finally:
        coverage.start()
