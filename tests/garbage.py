"""Python's garbage collector: off during the collection of the tests, then without what that has made.

The modules and tests stay until the end, and a look at all of them takes most of a second.
"""

from __future__ import annotations

import gc

import pytest


def pytest_configure() -> None:
    """Stop the collector."""
    gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Start the collector for what the tests make."""
    if not session.config.option.collectonly:
        gc.collect()
        gc.freeze()
    gc.enable()
