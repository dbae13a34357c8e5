"""Postgres and Valkey for tests: addresses and environment are set at import, servers start on first use.

Django reads its settings before any fixture runs, so the addresses must be known by then.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
import redis

from deploy.local.processes.supervisor import Supervisor
from deploy.local.servers.postgres import EmbeddedPostgres
from deploy.local.servers.valkey import EmbeddedValkey
from inference_worker.transport.incarnation import INCARNATION_KEY
from tests.patience import PATIENCE_S
from tests.ports import reserved_port
from tests.prepared_database import NO_SYNC, copy_database, database_password

ROOT = Path(tempfile.mkdtemp(prefix="cyllm-tests-"))
POSTGRES = EmbeddedPostgres(
    data_dir=ROOT / "postgres",
    port=reserved_port(),
    password=database_password(),
    options=NO_SYNC,
)
VALKEY = EmbeddedValkey(
    data_dir=ROOT / "valkey", port=reserved_port(), password=secrets.token_urlsafe(16), fsync="no"
)


def _environment() -> None:
    for name in [name for name in os.environ if name.startswith("CYLLM_")]:
        del os.environ[name]  # settings of the shell must not change the tests
    os.environ.update(
        DJANGO_SETTINGS_MODULE="cyllm_site.settings.test",
        CYLLM_DATABASE_URL=POSTGRES.url,
        CYLLM_REDIS_URL=VALKEY.url,
        CYLLM_SECRET_KEY=secrets.token_urlsafe(48),
        CYLLM_STATE_DIR=str(ROOT / "state"),
        HF_HUB_OFFLINE="1",
        VLLM_NO_USAGE_STATS="1",
    )
    (ROOT / "state" / "static").mkdir(parents=True)  # WhiteNoise warns if it is missing


_environment()


def pytest_configure() -> None:
    """Set up Django before any test module imports a model."""
    django.setup()


def pytest_unconfigure() -> None:
    """Remove the servers' data, and what this process has made without starting them."""
    shutil.rmtree(ROOT, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Remove the settings module from the environment of xdist's processes.

    With it, pytest-django would read the settings, and this process's addresses, before they set their own.
    """
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


@pytest.fixture(scope="session")
def test_servers() -> Iterator[Supervisor]:
    """The supervisor of the test servers, which stops them after the run."""
    supervisor = Supervisor(run_dir=ROOT / "run", log_dir=ROOT / "logs", say=print)
    yield supervisor
    for name in reversed(supervisor.names):
        supervisor.stop(name)


@pytest.fixture(scope="session")
def postgres_url(test_servers: Supervisor) -> str:
    """A running Postgres with a database of the complete schema, which no test fills."""
    copy_database(POSTGRES.data_dir)
    test_servers.start(POSTGRES.program())
    test_servers.wait_until("postgres", POSTGRES.is_ready, timeout_s=PATIENCE_S)
    return POSTGRES.url


@pytest.fixture(scope="session")
def redis_url(test_servers: Supervisor) -> str:
    """A running Valkey with its append-only file on."""
    test_servers.start(VALKEY.program())
    test_servers.wait_until("valkey", VALKEY.is_ready, timeout_s=PATIENCE_S)
    return VALKEY.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of Valkey, emptied first."""
    with redis.Redis.from_url(redis_url, socket_timeout=30) as client:
        _empty(client)
        yield client


def _empty(client: redis.Redis) -> None:
    """Delete all data, but not their incarnation: servers of earlier tests repeat facts if it changes."""
    incarnation = client.get(INCARNATION_KEY)
    with client.pipeline() as transaction:
        transaction.flushall()
        if isinstance(incarnation, bytes):
            transaction.set(INCARNATION_KEY, incarnation)
        transaction.execute()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres_url: str) -> None:
    """Start the server before pytest-django creates its database, which is a copy of the prepared one."""
    from django.db import connection

    connection.settings_dict["TEST"]["TEMPLATE"] = POSTGRES.database
