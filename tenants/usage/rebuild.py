"""Verification of the usage sums against the records, and their rebuilding from the records."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection, transaction

from tenants.locks import ledger_lock
from tenants.usage.models import UsageRollup

DIMENSIONS = ("bucket_at", "tenant_id", "key_id", "model", "endpoint")
# As in the triggers (migration 0002): measures by name, as SQL over a usage record ``r``.
MEASURES = {
    "requests": "count(*)",
    **{name: f"count(*) FILTER (WHERE r.outcome = '{name}')" for name in ("completed", "cancelled")},
    **{name: f"count(*) FILTER (WHERE r.outcome = '{name}')" for name in ("failed", "refused", "lost")},
    **{name: f"sum(r.{name})" for name in ("prompt_tokens", "cached_tokens", "completion_tokens")},
    **{name: f"sum(r.{name})" for name in ("trained_tokens", "wasted_tokens", "cost_microusd")},
    **{
        name: sql
        for time in ("queue", "first_token", "total")
        for name, sql in (
            (f"{time}_us", f"coalesce(sum(round(r.{time}_s * 1e6)::bigint), 0)"),
            (f"{time}_count", f"count(r.{time}_s)"),
        )
    },
}
_ALL = ", ".join(MEASURES)
_KEYS = ", ".join(DIMENSIONS)
_SUMS = f"""
    SELECT date_bin('15 minutes', r.started_at, TIMESTAMPTZ '2000-01-01 00:00:00+00') AS bucket_at,
           r.tenant_id, r.key_id, r.model, r.endpoint,
           {", ".join(f"{sql}::bigint AS {name}" for name, sql in MEASURES.items())}
    FROM tenants_usagerecord r
    WHERE r.started_at >= %(since)s AND r.started_at < %(until)s
    GROUP BY 1, 2, 3, 4, 5"""  # noqa: S608 - constants
_DIFFERENCES = f"""
    WITH records AS ({_SUMS}),
         rollups AS (SELECT {_KEYS}, {_ALL} FROM usage_usagerollup
                     WHERE bucket_at >= %(since)s AND bucket_at < %(until)s),
         missing AS (SELECT * FROM records EXCEPT SELECT * FROM rollups),
         wrong AS (SELECT * FROM rollups EXCEPT SELECT * FROM records)
    SELECT DISTINCT {_KEYS} FROM (SELECT * FROM missing UNION ALL SELECT * FROM wrong) different
    ORDER BY {_KEYS}"""  # noqa: S608 - constants
_INSERT = f"INSERT INTO usage_usagerollup ({_KEYS}, {_ALL}) {_SUMS}"
# A busy day can take longer than the limit on statements of requests.
_NO_TIME_LIMIT = "SET LOCAL statement_timeout = 0"
STEP = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Deviation:
    """A sum that differs from its records, with the columns that identify it."""

    bucket_at: dt.datetime
    tenant_id: object
    key_id: object
    model: str
    endpoint: str


def rollups_verify() -> list[Deviation]:
    """Return the sums that differ from their records, including missing sums and sums without records."""
    deviations: list[Deviation] = []
    for since, until in _days():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_NO_TIME_LIMIT)
            cursor.execute(_DIFFERENCES, {"since": since, "until": until})
            deviations += (Deviation(*row) for row in cursor.fetchall())
    return deviations


def rollups_rebuild() -> int:
    """Replace all sums by sums of the records, a day at a time; writers wait for one day at most.

    Returns the number of sums.
    """
    return sum(_rebuild_day(since, until) for since, until in _days())


@transaction.atomic
def _rebuild_day(since: dt.datetime, until: dt.datetime) -> int:
    ledger_lock()
    with connection.cursor() as cursor:
        cursor.execute(_NO_TIME_LIMIT)
        # Attempts of fine-tuning jobs are written without the ledger's lock.
        cursor.execute("LOCK TABLE tenants_usagerecord IN SHARE MODE")
        UsageRollup.objects.filter(bucket_at__gte=since, bucket_at__lt=until).delete()
        cursor.execute(_INSERT, {"since": since, "until": until})
        return int(cursor.rowcount)


def _days() -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """Yield the beginning and end of each day in UTC that has records or sums."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT least((SELECT min(started_at) FROM tenants_usagerecord),"
            " (SELECT min(bucket_at) FROM usage_usagerollup)),"
            " greatest((SELECT max(started_at) FROM tenants_usagerecord),"
            " (SELECT max(bucket_at) FROM usage_usagerollup))"
        )
        first, last = cursor.fetchone()
    if first is None:
        return
    since = first.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while since <= last:
        yield since, since + STEP
        since += STEP
