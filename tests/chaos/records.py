"""Records of a trial: what clients saw against the usage and audit rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import LiteralString

import psycopg

from inference_worker.protocol.messages import REFUSAL_STATUSES
from tests.chaos.load import PIECES, SentRequest
from tests.stacks import RunningStack

PATTERN = "chaos-%"
UNSETTLED: LiteralString = (
    "SELECT count(*) FROM tenants_usagerecord WHERE state = 'open' AND correlation_id LIKE %s"
)
UNPAIRED: LiteralString = (
    "SELECT count(*) FROM tenants_usagerecord u WHERE u.correlation_id LIKE %s AND NOT EXISTS "
    "(SELECT FROM tenants_auditrecord a WHERE a.request_id = u.request_id)"
)
COUNTED: LiteralString = (
    "SELECT coalesce(sum(requests), 0) FROM usage_refusalcount WHERE status = 429 AND tenant_id IS NOT NULL"
)
MISCOUNTED: LiteralString = (
    "SELECT count(*) FROM tenants_usagerecord WHERE correlation_id LIKE %s AND outcome = 'completed' "
    "AND endpoint = '/v1/chat/completions' AND completion_tokens <> %s"
)


@dataclass(frozen=True)
class Records:
    """Faults of the records. All are zero, or the trial has failed.

    ``lost_requests`` were answered, not refused, and have no audit row; ``doubled_requests`` have several.
    ``open_rows``: of usage. ``unpaired_rows``: usage without an audit row. ``miscounted_rows``: usage that
    isn't the length of its complete answer. ``overcounted_refusals``: refusals by limits that were counted
    although they have an audit row.
    """

    lost_requests: int
    doubled_requests: int
    open_rows: int
    unpaired_rows: int
    miscounted_rows: int
    overcounted_refusals: int

    @property
    def is_right(self) -> bool:
        """True without any fault."""
        return not any(astuple(self))


def records_of(stack: RunningStack, requests: Sequence[SentRequest]) -> Records:
    """Compare all requests with the rows of the database."""
    with stack.database() as database:
        rows = database.execute(
            "SELECT correlation_id FROM tenants_auditrecord WHERE correlation_id LIKE %s", [PATTERN]
        ).fetchall()
        counts = Counter(str(row[0]) for row in rows)
        open_rows = _count(database, UNSETTLED)
        unpaired_rows = _count(database, UNPAIRED)
        miscounted_rows = _count(database, MISCOUNTED, PIECES)
        counted_refusals = _count(database, COUNTED)
    rowless_requests = [
        item for item in requests if item.kind != "stranger" and not counts[item.correlation_id]
    ]
    return Records(
        lost_requests=sum(item.status not in (0, *REFUSAL_STATUSES) for item in rowless_requests),
        doubled_requests=sum(count > 1 for count in counts.values()),
        open_rows=open_rows,
        unpaired_rows=unpaired_rows,
        miscounted_rows=miscounted_rows,
        # A refused client may have been cut off; a killed gateway loses its last counts.
        overcounted_refusals=max(0, counted_refusals - len(rowless_requests)),
    )


def _count(database: psycopg.Connection[tuple[object, ...]], query: LiteralString, *values: int) -> int:
    patterns = [PATTERN] if "%s" in query else []
    row = database.execute(query, [*patterns, *values]).fetchone()
    assert row is not None
    return int(str(row[0]))
