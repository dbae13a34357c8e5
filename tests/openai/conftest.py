"""Fixtures of the tests of streamed responses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.openai.scripted_service import ScriptedService


@pytest.fixture(scope="module")
def service() -> Iterator[ScriptedService]:
    """The SDK, connected to a scripted service."""
    scripted_service = ScriptedService()
    with scripted_service.client:
        yield scripted_service
