"""Upserts of many records in one statement with a single parameter: the rows as JSON.

``bulk_create`` adapts and quotes each value of each row, which took most of the time of a drain.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from django.db import connection, models

KEY = '"request_id"'


def records_upsert(model: type[models.Model], rows: Sequence[Any]) -> None:
    """Insert records, or overwrite those with the same request ids; no two rows may have the same one.

    ``rows`` are mappings or dataclasses with the values of all columns but the primary key. Raises DataError
    and IntegrityError, like ``bulk_create``.
    """
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_statement(model), [msgspec.json.encode(rows).decode()])


@cache
def _statement(model: type[models.Model]) -> str:
    types = {
        connection.ops.quote_name(str(field.column)): field.db_type(connection)
        for field in model._meta.concrete_fields
        if not field.primary_key
    }
    columns = ", ".join(types)
    definitions = ", ".join(f"{column} {db_type}" for column, db_type in types.items())
    updates = ", ".join(f"{column} = EXCLUDED.{column}" for column in types if column != KEY)
    return (
        f"INSERT INTO {connection.ops.quote_name(model._meta.db_table)} ({columns}) "  # noqa: S608 - only names
        f"SELECT {columns} FROM json_to_recordset(%s::json) AS records ({definitions}) "
        f"ON CONFLICT ({KEY}) DO UPDATE SET {updates}"
    )
