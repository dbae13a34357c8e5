"""Rows that many tests begin with: written by the product's services once per process, then copied."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import connection, transaction
from psycopg import sql

from tests.flush import KEPT, filled_tables

T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """The rows of each table, in Postgres's format for COPY, and the value that came with them."""

    value: Any
    rows: dict[str, bytes]


_SNAPSHOTS: dict[Callable[[], Any], Snapshot] = {}


def from_snapshot(create: Callable[[], T]) -> T:
    """Return the value of ``create`` in a database that has the rows it writes.

    ``create`` runs once if the database is empty then. Later calls insert the same rows and return a
    copy of the value. Triggers run at each insertion, so ``create`` must write no usage records.
    """
    if (snapshot := _SNAPSHOTS.get(create)) is not None:
        _insert(snapshot.rows)
        value: T = copy.deepcopy(snapshot.value)
        return value
    tables = [name for name in connection.introspection.django_table_names() if name not in KEPT]
    with connection.cursor() as cursor:
        was_empty = not filled_tables(cursor, tables)
        value = create()
        if was_empty:
            rows = {name: _read(cursor, name) for name in filled_tables(cursor, tables)}
            _SNAPSHOTS[create] = Snapshot(copy.deepcopy(value), rows)
    return value


def _read(cursor: Any, table: str) -> bytes:
    with cursor.copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))) as rows:
        return b"".join(bytes(part) for part in rows)


@transaction.atomic
def _insert(rows: dict[str, bytes]) -> None:
    with connection.cursor() as cursor:
        for table, data in rows.items():
            with cursor.copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))) as target:
                target.write(data)
