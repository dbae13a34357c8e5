"""Outages of Redis and Postgres: stopped servers, suspended processes, refused connections."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import psutil
import psycopg
import psycopg.sql
import pytest
from django.db import connection

from deploy.local.servers.valkey import EmbeddedValkey
from tests.gateway.harness.scripted import ScriptedClient
from tests.gateway.harness.scripts import body_script
from tests.ports import reserved_port
from tests.stacks import Service

if TYPE_CHECKING:  # conftest.py imports this module before Django is set up
    from api.gateway.app import Gateway

DatabaseOutage: TypeAlias = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[tuple[Service, str]]:
    """A server that a test may stop, and its URL."""
    valkey_server = EmbeddedValkey(data_dir=tmp_path, port=reserved_port(), password="own", fsync="no")
    service = Service(valkey_server.program(), valkey_server.is_ready, tmp_path / "valkey.log")
    service.start()
    yield service, valkey_server.url
    service.stop()


@pytest.fixture
def database_outage(keys: object) -> Iterator[DatabaseOutage]:
    """A context in which Postgres accepts no connection, as after a failover or with all of them in use."""
    parameters: dict[str, Any] = connection.get_connection_params()
    connection.close()
    server = {name: parameters[name] for name in ("host", "port", "user", "password") if parameters.get(name)}
    with psycopg.connect(dbname="postgres", autocommit=True, **server) as admin:
        yield lambda: _database_outage(admin, parameters["dbname"])


@contextmanager
def _database_outage(admin: psycopg.Connection[Any], database: str) -> Iterator[None]:
    _set_connections_allowed(admin, database, False)
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
    try:
        yield
    finally:
        _set_connections_allowed(admin, database, True)


def _set_connections_allowed(admin: psycopg.Connection[Any], database: str, is_allowed: bool) -> None:
    command = psycopg.sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    admin.execute(command.format(psycopg.sql.Identifier(database), psycopg.sql.Literal(is_allowed)))


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """Suspend a process and its children with open sockets, as on a swapping machine or a dead disk."""
    parent = psutil.Process(pid)
    processes = [parent, *parent.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def chat_succeeds(gateway: Gateway, key: str, client: ScriptedClient) -> Callable[[], Awaitable[bool]]:
    """Return a condition that makes a chat request and holds if it succeeds."""
    from tests.gateway.harness.calls import chat

    async def succeeds() -> bool:
        client.scripts = [body_script()]
        return (await chat(gateway, key)).status == 200

    return succeeds
