"""A browser for the pages of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.people import Cast, signed_in

if TYPE_CHECKING:  # conftest.py is imported before Django is set up
    from django.test import Client


@pytest.fixture
def browser(cast: Cast) -> Client:
    """A browser in which the member is signed in, and whose session remembers the tenant."""
    client = signed_in(cast.member)
    client.get("/console/acme/jobs/")
    return client
