"""Celery's tasks share connections to Postgres, and replace those that Postgres has closed."""

from __future__ import annotations

from functools import partial

import psycopg

from tests.stack.conftest import OwnedStack
from tests.stack.sse import chat, receive
from tests.stacks import wait_until

REQUESTS = 6
_SESSIONS = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
_END_OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""


def _is_stored(connection: psycopg.Connection[tuple[object, ...]], request_id: str) -> bool:
    rows = connection.execute("SELECT 1 FROM tenants_auditrecord WHERE request_id = %s", [request_id])
    return rows.fetchone() is not None


def _store_requests(stack: OwnedStack, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Send requests one after another, each once a task has stored the one before."""
    with stack.client() as client:
        for number in range(REQUESTS):
            request_id = receive(client, chat("tiny", f"connections {number}", 2)).request_id
            wait_until(partial(_is_stored, connection, request_id), f"{request_id} is stored")


def _sessions(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    row = connection.execute(_SESSIONS).fetchone()
    assert row is not None
    return int(str(row[0]))


def test_tasks_do_not_connect_anew(ready_stack: OwnedStack) -> None:
    with ready_stack.database() as connection:
        _store_requests(ready_stack, connection)
        before = _sessions(connection)
        _store_requests(ready_stack, connection)
        assert _sessions(connection) - before < REQUESTS

        connection.execute(_END_OTHERS)
        _store_requests(ready_stack, connection)
