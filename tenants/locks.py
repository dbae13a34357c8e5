"""Advisory locks of the ledger and of the administrative trail, held until the transaction ends.

A writer of administrative changes holds its lock shared, so writers don't wait for each other. Once the
sealing has held it exclusively for a moment, each record up to the highest id is committed or never will be.
"""

from __future__ import annotations

from django.db import connection

_LEDGER_LOCK = 0x63796C6C
_CHANGES_LOCK = 0x63797365


def ledger_lock() -> None:
    """Take the ledger's lock until the end of the transaction.

    Row locks cannot keep two drains from inserting the same record. This lock does, and queries after it
    see everything that its previous holder committed.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LEDGER_LOCK])


def change_lock_shared() -> None:
    """Take the writers' lock until the end of the transaction. Does not wait for other writers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_CHANGES_LOCK])


def change_lock_exclusive(*, timeout_ms: int) -> None:
    """Wait until no other transaction holds the writers' lock. Raises OperationalError after the timeout."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{timeout_ms}ms"])
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CHANGES_LOCK])
