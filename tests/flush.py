"""Deletion of the rows that a test has committed: quick, and safe while servers of the test still write."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError, connection, transaction
from psycopg import sql

if TYPE_CHECKING:
    from django.db.backends.base.operations import BaseDatabaseOperations

TIMEOUT_S = 120
# Written by Django's post_migrate, which then need not be repeated.
KEPT = frozenset({"auth_permission", "django_content_type"})
_NAME = re.compile(r'"(\w+)"')
_WITH_TRIGGERS = "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"


@pytest.fixture(scope="session", autouse=True)
def _quick_flush() -> Iterator[None]:
    """Replace Django's TRUNCATE of all tables, which makes new files for each of them and its indexes."""
    from django.core.management.commands import flush
    from django.db.backends.base.operations import BaseDatabaseOperations

    execute = BaseDatabaseOperations.execute_sql_flush

    def execute_quickly(operations: BaseDatabaseOperations, statements: list[str]) -> None:
        if [statement.split()[0] for statement in statements] == ["TRUNCATE"]:
            delete_rows([name for name in _NAME.findall(statements[0]) if name not in KEPT])
        else:
            execute(operations, statements)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", execute_quickly)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_, **__: None)
        yield


def delete_rows(tables: Sequence[str]) -> None:
    """Delete all rows, after every transaction that is writing to the tables has ended.

    An attempt that waits for a lock gives up before Postgres looks for a deadlock, and is repeated.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            _delete_rows(tables)
            return
        except OperationalError as error:
            if "lock timeout" not in str(error) or time.monotonic() > deadline:
                raise


def filled_tables(cursor: Any, tables: Sequence[str]) -> list[str]:
    """Return the tables that have rows."""
    test = sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})")
    tests = [test.format(table, sql.Identifier(table)) for table in tables]
    cursor.execute(sql.SQL(" UNION ALL ").join(tests))
    return [name for (name,) in cursor.fetchall()]


@transaction.atomic
def _delete_rows(tables: Sequence[str]) -> None:
    names = [sql.Identifier(table) for table in tables]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '200ms'")
        cursor.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(sql.SQL(", ").join(names)))
        filled_names = filled_tables(cursor, tables)
        cursor.execute(_WITH_TRIGGERS)
        with_triggers = {name for (name,) in cursor.fetchall()}
        for table in filled_names:
            # Triggers forbid the deletion of rows, or count them.
            action = sql.SQL("TRUNCATE {}" if table in with_triggers else "DELETE FROM {}")
            cursor.execute(action.format(sql.Identifier(table)))
