"""Benchmark of the purge of audit records: latency of the ledger's writes before and during a purge.

``python -m benchmarks.purge --rows 1000000``. It starts a Postgres of its own with durable commits, fills the
audit trail, seals it, and purges it in another process while this one stores requests as the ledger does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import secrets
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.purge.work import purge, set_up
from deploy.local.processes.supervisor import Supervisor
from deploy.local.servers.ports import free_port
from deploy.local.servers.postgres import EmbeddedPostgres

REQUESTS_PER_WRITE = 20
PAUSE_S = 0.02
TENANTS = (uuid.UUID(int=1), uuid.UUID(int=2))
FILL = """
    INSERT INTO tenants_auditrecord (request_id, correlation_id, tenant_id, key_prefix, method, endpoint,
        model, outcome, error_code, status, duration_s, at, requested_model, error_param)
    SELECT 'old-' || n, 'c-' || n, (%s::uuid[])[1 + n %% 2], 'abcdefghijkl', 'POST', '/v1/chat/completions',
        'm', 'completed', '', 200, 1.0, now() - interval '60 days' + n * interval '1 second', '', ''
    FROM generate_series(1, %s) n
"""


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Run a Postgres with its data in ``folder``. Yields its URL."""
    postgres = EmbeddedPostgres(
        data_dir=folder / "postgres", port=free_port(), password=secrets.token_urlsafe(16), options={}
    )
    supervisor = Supervisor(run_dir=folder / "run", log_dir=folder / "logs", say=print)
    postgres.initialise()
    supervisor.start(postgres.program())
    try:
        supervisor.wait_until("postgres", postgres.is_ready, timeout_s=60)
        postgres.ensure_database()
        yield postgres.url
    finally:
        supervisor.stop("postgres")


def fill(rows: int) -> None:
    """Insert old records of two tenants and seal them."""
    from django.core.management import call_command
    from django.db import connection

    from tenants.audit_trail.models import Trail
    from tenants.audit_trail.sealing import audit_seal

    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(FILL, [[str(tenant) for tenant in TENANTS], rows])
        cursor.execute("VACUUM ANALYZE tenants_auditrecord")
    audit_seal(Trail.REQUESTS)


class Writer:
    """Stores requests as the ledger's drain does, and measures each transaction."""

    def __init__(self) -> None:
        from django.utils import timezone

        from tenants.ledger.store import facts_store
        from tests.tenants import facts

        facts.STARTED_AT = time.time()  # new requests, which the purge keeps
        self._number = 0
        self._now, self._store = timezone.now, facts_store
        self._facts = (facts.start_fact, facts.meter_fact, facts.end_fact)

    def write_until(self, is_over: Iterator[bool]) -> list[float]:
        """Write until the iterator says so; returns the seconds of each write."""
        latencies = []
        while not next(is_over):
            names = [f"new-{self._number + offset}" for offset in range(REQUESTS_PER_WRITE)]
            self._number += REQUESTS_PER_WRITE
            facts = [make(name) for name in names for make in self._facts]
            start = time.perf_counter()
            self._store(facts, now=self._now())
            latencies.append(time.perf_counter() - start)
            time.sleep(PAUSE_S)
        return latencies


def for_seconds(seconds: float) -> Iterator[bool]:
    """Yield False until the time is over."""
    end = time.monotonic() + seconds
    while True:
        yield time.monotonic() > end


def figures(latencies: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile in milliseconds."""
    percentiles = statistics.quantiles(latencies, n=100)
    return percentiles[49] * 1000, percentiles[98] * 1000


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of the measurement before")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="cyllm-purge-") as name:
        folder = Path(name)
        with running_postgres(folder) as url:
            set_up(url, folder)
            fill(options.rows)
            writer = Writer()
            writer.write_until(for_seconds(3))
            before = writer.write_until(for_seconds(options.seconds))
            result: multiprocessing.Queue[tuple[int, float]] = context.Queue()
            has_begun = context.Event()
            process = context.Process(target=purge, args=(url, folder, has_begun, result))
            process.start()
            has_begun.wait()
            during = writer.write_until(iter(lambda: not process.is_alive(), None))
            count, seconds = result.get(timeout=5)
    print(f"purged {count} records in {seconds:.1f} s: {count / seconds:.0f} records/s")
    for label, latencies in (("before", before), ("during", during)):
        median, p99 = figures(latencies)
        print(f"{label}: {len(latencies)} writes, median {median:.1f} ms, p99 {p99:.1f} ms")
    print(f"p99 during / before: {figures(during)[1] / figures(before)[1]:.2f}")


if __name__ == "__main__":
    main()
