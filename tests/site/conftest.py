"""A production server, shared by the tests that connect to it over sockets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.local.processes.supervisor import Program, Supervisor
from deploy.local.servers.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="package")
def port(test_servers: Supervisor, django_db_setup: None, postgres_url: str, redis_url: str) -> Iterator[int]:
    """The port of a running gateway on the test database, with tight limits for bodies."""
    from django.db import connection

    number = free_port()
    database_url = urlsplit(postgres_url)._replace(path="/" + str(connection.settings_dict["NAME"])).geturl()
    test_servers.start(
        Program(
            name="site-server",
            argv=[sys.executable, "-m", "cyllm_site.serve", "--port", str(number)],
            env={
                **os.environ,
                "CYLLM_DATABASE_URL": database_url,
                "CYLLM_MAX_BODY_BYTES": "2000000",
                "CYLLM_CLIENT_BODY_TIMEOUT_S": "2",
            },
            cwd=ROOT,
        )
    )
    test_servers.wait_until("site-server", lambda: is_alive(number), timeout_s=60)
    yield number
    test_servers.stop("site-server")


def is_alive(port: int) -> bool:
    """Return whether the gateway responds."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def live_key(transactional_db: None) -> str:
    """A key that the running gateway accepts, because its transaction is committed."""
    from tenants.services import key_create, tenant_create

    tenant = tenant_create(slug="acme", name="Acme", actor="tests")
    return str(key_create(tenant=tenant, name="k", actor="tests")[1])
