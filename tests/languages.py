"""Each test begins in English: a request in another language leaves that active in its thread."""

from __future__ import annotations

from django.utils import translation


def pytest_runtest_setup() -> None:
    """Return to the language of the settings."""
    translation.deactivate()
