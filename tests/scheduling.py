"""Order of the tests, and their distribution over the processes of ``pytest -n``.

Tests that run an engine need most of the machine and most of the time. They come first and share one
process, so engines never compete; the other processes run the remaining tests file by file.
"""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# In this order: the clients, which the others drive, are installed during tests/effects.
ENGINE_TESTS = ("tests/effects/", "tests/stack/", "tests/contract/")


# Processes share the cores, so the time of one example says nothing. Each run tries the same examples, so
# that only a change makes it fail; --hypothesis-profile=random searches for new ones.
hypothesis.settings.register_profile("random", deadline=None)
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


def _rank(node_id: str) -> int:
    """Return the position of a test's folder, with all tests that need no engine at the end."""
    matches = (rank for rank, prefix in enumerate(ENGINE_TESTS) if node_id.startswith(prefix))
    return next(matches, len(ENGINE_TESTS))


def scope_of(node_id: str) -> str:
    """Return the name of the group that a test belongs to: one for all engine tests, or its file."""
    return "engine" if _rank(node_id) < len(ENGINE_TESTS) else node_id.partition("::")[0]


class OneEngineScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Distributes groups of tests in the order of their collection, each group to one process."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the engine tests to the front, otherwise keep the order."""
    items.sort(key=lambda item: _rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneEngineScheduling | None:
    """Return the scheduler for ``-n``, unless ``--dist`` asks for another."""
    if config.getoption("dist") != "load":
        return None
    config.option.loadscopereorder = False
    return OneEngineScheduling(config, log)
