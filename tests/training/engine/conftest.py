"""Fixtures of the trainer's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.training.engine.runs import AttemptServer, attempt_server


@pytest.fixture(scope="package")
def attempts() -> Iterator[AttemptServer]:
    """A server of attempts that can be killed."""
    with attempt_server() as server:
        yield server
