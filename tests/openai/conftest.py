"""What tests of answers have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.openai.answering import Service


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The SDK before a service that answers what it is given."""
    made = Service()
    with made.client:
        yield made
