"""Requests that begin before a change of the same object commits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection, transaction

from tests.stacks import wait_until


def during(change: Callable[[], object], request: Callable[[], Any]) -> Any:
    """Return the response to a request that begins before a change commits and has to wait for it."""

    def respond() -> Any:
        try:
            return request()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as executor:
        with transaction.atomic():
            change()
            response = executor.submit(respond)
            wait_until(lambda: is_waited_for() or response.done(), "the request waits")
        return response.result()


def is_waited_for() -> bool:
    """Return whether another connection waits for a lock of this one."""
    with connection.cursor() as cursor:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        cursor.execute(f"{waiting} AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")
        return bool(cursor.fetchone()[0])
