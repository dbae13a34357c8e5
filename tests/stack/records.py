"""Usage and audit records of requests, and heartbeats of workers."""

from __future__ import annotations

from typing import Any

import psycopg.rows

from inference_worker.protocol import codec, names
from inference_worker.protocol.messages import Heartbeat
from tests.stacks import RunningStack, wait_until


def _rows(stack: RunningStack, table: str, request_id: str) -> list[dict[str, Any]]:
    with stack.database() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        cursor.execute(
            psycopg.sql.SQL("SELECT * FROM {} WHERE request_id = %s").format(psycopg.sql.Identifier(table)),
            (request_id,),
        )
        return cursor.fetchall()


def usage_rows(stack: RunningStack, request_id: str) -> list[dict[str, Any]]:
    """Return all usage rows of a request, settled or not."""
    return _rows(stack, "tenants_usagerecord", request_id)


def settled_usage(stack: RunningStack, request_id: str) -> dict[str, Any]:
    """Wait until the only usage row of a request is settled, and return it."""

    def settled() -> bool:
        rows = usage_rows(stack, request_id)
        return len(rows) == 1 and rows[0]["state"] == "settled"

    wait_until(settled, f"{request_id} is settled")
    (row,) = usage_rows(stack, request_id)
    return row


def audit_row(stack: RunningStack, request_id: str) -> dict[str, Any]:
    """Wait for the only audit row of a request, and return it."""
    wait_until(lambda: len(_rows(stack, "tenants_auditrecord", request_id)) > 0, "the audit row")
    (row,) = _rows(stack, "tenants_auditrecord", request_id)
    return row


def heartbeat(stack: RunningStack, worker_id: str = "local-1") -> Heartbeat | None:
    """Return the last heartbeat of a worker."""
    with stack.redis() as client:
        data = client.get(names.worker_key(worker_id))
    return codec.decode_heartbeat(data) if isinstance(data, bytes) else None


def running(stack: RunningStack, worker_id: str = "local-1") -> int:
    """Return the number of requests in the worker's engine and its queue."""
    beat = heartbeat(stack, worker_id)
    return beat.running + beat.waiting if beat else -1
