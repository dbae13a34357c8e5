"""Benchmark of the quota counters: time of an admission, in the gateway and in Redis.

``python -m benchmarks.quotas``. Starts a Valkey of its own with an append-only file, and compares a
reservation with a PING and with the record of the request on the same machine. Prints medians and 99th
percentiles of sequential calls, calls per second with many at once, and the server's time for a command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import django
import redis

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cyllm_site.settings.check")
django.setup()

from deploy.local.processes.supervisor import Supervisor  # noqa: E402 - Django must be set up first
from deploy.local.servers.ports import free_port  # noqa: E402
from deploy.local.servers.valkey import EmbeddedValkey  # noqa: E402
from inference_worker.transport.address import Address  # noqa: E402
from inference_worker.transport.incarnation import INCARNATION_KEY, INCARNATION_SCRIPT  # noqa: E402
from inference_worker.transport.redis_connection import RedisConnection  # noqa: E402
from tenants.limits.columns import UsageLimits  # noqa: E402
from tenants.quotas.amounts import Amounts, Claim, utc_day  # noqa: E402
from tenants.quotas.counters import names  # noqa: E402
from tenants.quotas.counters.quota_counters import QuotaCounters  # noqa: E402

TENANT, KEY = "6a4bd2f0-1111-4222-8333-444455556666", "6a4bd2f0-7777-4888-9999-aaaabbbbcccc"
MANY = 10**12
LIMITS = UsageLimits(MANY, MANY, MANY, MANY, MANY)
CONCURRENCY = 64
FACT = b"x" * 300

Operation = Callable[[int], Awaitable[None]]


@contextmanager
def valkey() -> Iterator[str]:
    """Run a server; yield its URL."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        server = EmbeddedValkey(data_dir=root / "data", port=free_port(), password=secrets.token_urlsafe(16))
        supervisor = Supervisor(run_dir=root / "run", log_dir=root / "logs", say=lambda _: None)
        supervisor.start(server.program())
        try:
            supervisor.wait_until("valkey", server.is_ready, timeout_s=30)
            yield server.url
        finally:
            supervisor.stop(server.program().name)


async def _counters(url: str) -> QuotaCounters:
    client = redis.Redis.from_url(url)

    async def rebuild(tenant_id: str) -> None:
        reply: Any = client.eval(INCARNATION_SCRIPT, 1, INCARNATION_KEY)
        client.hset(names.tenant_counters(tenant_id), "incarnation", reply[0])

    counters = QuotaCounters(url, rebuild)
    await counters.start()
    while not counters.is_up:
        await asyncio.sleep(0.01)
    return counters


def _operations(counters: QuotaCounters, connection: RedisConnection) -> dict[str, Operation]:
    day = utc_day(time.time())

    async def ping(_: int) -> None:
        await connection.call("PING")

    async def record(_: int) -> None:
        await connection.call("XADD", "facts", "*", "fact", FACT)

    async def reserve(number: int) -> None:
        claim = Claim(f"req_{number}", TENANT, KEY, day, Amounts(1, 500, 900))
        decision = await counters.reserve(claim, LIMITS, LIMITS)
        if decision.refusal is not None:
            raise RuntimeError("the benchmark's limits are too low")
        counters.settle(claim.request_id, Amounts(1, 300, 500))

    return {"PING": ping, "record (XADD)": record, "reserve and settle": reserve}


async def _measure(operation: Operation, calls: int) -> dict[str, float]:
    for number in range(calls // 10):
        await operation(number)
    times_us = []
    for number in range(calls):
        started_at = time.perf_counter()
        await operation(number)
        times_us.append((time.perf_counter() - started_at) * 1e6)
    started_at, cpu_at = time.perf_counter(), time.process_time()
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            await operation(number)

    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    elapsed_s, cpu_s = time.perf_counter() - started_at, time.process_time() - cpu_at
    return {
        "median_us": median(times_us),
        "p99_us": quantiles(times_us, n=100)[98],
        "per_s": calls / elapsed_s,
        "cpu_us": cpu_s / calls * 1e6,
    }


async def run(url: str, calls: int) -> dict[str, Any]:
    """Measure each operation, and read the time of scripts in the server."""
    counters = await _counters(url)
    connection = RedisConnection(Address.from_url(url))
    await connection.start()
    await connection.until_up()
    client = redis.Redis.from_url(url)
    results: dict[str, Any] = {}
    for name, operation in _operations(counters, connection).items():
        client.config_resetstat()
        results[name] = await _measure(operation, calls)
        stats: Any = client.info("commandstats")
        commands = [stats[key] for key in ("cmdstat_ping", "cmdstat_xadd", "cmdstat_evalsha") if key in stats]
        results[name]["server_us"] = sum(each["usec"] for each in commands) / sum(
            each["calls"] for each in commands
        )
    await counters.stop()
    await connection.stop()
    return results


def table(results: dict[str, Any]) -> str:
    """Format the results as Markdown."""
    lines = [
        "| operation | median µs | p99 µs | per second, 64 at once | CPU µs | server µs per command |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        columns = (row["median_us"], row["p99_us"], row["per_s"], row["cpu_us"], row["server_us"])
        lines.append(f"| {name} | " + " | ".join(f"{value:.0f}" for value in columns) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Benchmark of the quota counters.")
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with valkey() as url:
        results = asyncio.run(run(url, arguments.calls))
    print(json.dumps(results, indent=2) if arguments.json else table(results))


if __name__ == "__main__":
    main()
