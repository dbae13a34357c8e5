"""A production server, shared by the tests that connect to it over sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.local.processes.supervisor import Supervisor
from tests.site_server import running_site


@pytest.fixture(scope="package")
def port(test_servers: Supervisor, django_db_setup: None, postgres_url: str, redis_url: str) -> Iterator[int]:
    """The port of a running gateway on the test database, with tight limits for bodies."""
    limits = {"CYLLM_MAX_BODY_BYTES": "2000000", "CYLLM_CLIENT_BODY_TIMEOUT_S": "2"}
    with running_site(test_servers, "site-server", **limits) as number:
        yield number


@pytest.fixture
def live_key(transactional_db: None) -> str:
    """A key that the running gateway accepts, because its transaction is committed."""
    from tenants.keys.services import key_create
    from tenants.services import tenant_create

    tenant = tenant_create(slug="acme", name="Acme", actor="tests")
    return str(key_create(tenant=tenant, name="k", actor="tests")[1])
