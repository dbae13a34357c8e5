"""The page of a job shows the time left while its steps are trained."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tests.console.harness.jobs import job_with_steps, write_steps
from tests.people import Cast

pytestmark = pytest.mark.django_db


def test_the_time_left_is_that_of_the_training(cast: Cast, browser: Client) -> None:
    """Nothing estimates how long evaluation and verification take, which follow the last step."""
    job = job_with_steps(cast.acme, 1, total=2000)
    page = browser.get(f"/console/acme/jobs/{job.id}/").content.decode()
    assert re.search('id="live-eta">1 h [56] min', page)
    write_steps(job, 2000, 2000, total=2000)
    page = browser.get(f"/console/acme/jobs/{job.id}/").content.decode()
    assert 'id="live-eta">—<' in page
