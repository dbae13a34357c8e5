"""A production server on the test database, for browsers and sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.processes.supervisor import Supervisor
from tests.console.harness.jobs import MODEL
from tests.site_server import running_site


@pytest.fixture(scope="package")
def site_server(
    test_servers: Supervisor, django_db_setup: None, postgres_url: str, redis_url: str, tiny_model: Path
) -> Iterator[int]:
    """The port of a running site on the test database, which knows the folder of a model."""
    with running_site(test_servers, "console-server", CYLLM_TRAINING_MODELS=f"{MODEL}={tiny_model}") as port:
        yield port
