"""Latency of a small tenant beside one with ten times its load: ``python -m benchmarks.fairness MODEL``.

Runs a whole stack with one worker, whose engine has fewer sequences than the large tenant has streams. The
small tenant sends one request after another, the large one keeps ten in flight. Each round measures the small
tenant alone, under load, and alone again: the ratio of the two measurements alone (A/A) shows the noise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.relay.load import Result, StreamError, Target, run_load
from benchmarks.tenants import create_tenant
from tests.stacks import running_stack

MODEL = "benchmark"
MAX_RATIO = 2.0
RATIO_OF_LOADS = 10


@dataclass
class Times:
    """Seconds of each request of the small tenant, to its first token and to its end."""

    first_token_s: list[float] = field(default_factory=list)
    total_s: list[float] = field(default_factory=list)

    def add(self, result: Result, tokens: int) -> None:
        """Add a request of ``tokens`` tokens."""
        self.first_token_s.append(result.first_token_s)
        self.total_s.append(tokens / result.tokens_per_s)

    def line(self) -> str:
        """Return medians and 95th percentiles as text."""
        first, total = statistics.median(self.first_token_s), statistics.median(self.total_s)
        return (
            f"first token {first * 1000:.1f} ms (p95 {_p95(self.first_token_s) * 1000:.1f}), "
            f"whole {total * 1000:.0f} ms (p95 {_p95(self.total_s) * 1000:.0f})"
        )


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


@dataclass
class Load:
    """Streams that a tenant keeps in flight, ``streams`` at once. ``failures``: refused or broken ones."""

    target: Target
    streams: int
    tokens: int
    answers: int = 0
    failures: int = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the streams in flight for as long as the context lasts."""
        tasks = [asyncio.create_task(self._repeat(number)) for number in range(self.streams)]
        await asyncio.sleep(2.0)  # until every sequence of the engine is occupied
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(1.0)

    async def _repeat(self, number: int) -> None:
        while True:
            try:
                await run_load(self.target, 1, self.tokens, 10_000 + number)
                self.answers += 1
            except (OSError, StreamError):
                self.failures += 1
                await asyncio.sleep(0.1)


async def _measure(target: Target, requests: int, tokens: int) -> Times:
    times = Times()
    for number in range(requests):
        times.add(await run_load(target, 1, tokens, number), tokens)
        await asyncio.sleep(0.02)
    return times


@dataclass
class Figures:
    """The small tenant's times, alone, under load and alone again."""

    alone: Times = field(default_factory=Times)
    under_load: Times = field(default_factory=Times)
    again: Times = field(default_factory=Times)

    def add(self, alone: Times, under_load: Times, again: Times) -> None:
        """Add a round."""
        for total, times in ((self.alone, alone), (self.under_load, under_load), (self.again, again)):
            total.first_token_s += times.first_token_s
            total.total_s += times.total_s

    @property
    def ratio(self) -> float:
        """The median of whole requests under load, as a multiple of that of all requests alone."""
        alone = self.alone.total_s + self.again.total_s
        return statistics.median(self.under_load.total_s) / statistics.median(alone)

    def report(self) -> str:
        """Return all figures as text."""
        control = statistics.median(self.again.total_s) / statistics.median(self.alone.total_s)
        first = statistics.median(self.under_load.first_token_s) / statistics.median(
            self.alone.first_token_s + self.again.first_token_s
        )
        lines = [
            f"alone: {self.alone.line()}",
            f"under load: {self.under_load.line()}",
            f"alone again: {self.again.line()}",
            f"under load / alone: whole {self.ratio:.2f}, first token {first:.2f}; A/A {control:.2f}",
        ]
        return "\n".join(lines)


async def _run(small: Target, load: Load, rounds: int, requests: int, tokens: int) -> Figures:
    figures = Figures()
    await run_load(small, 4, tokens, 900)
    for number in range(rounds):
        alone = await _measure(small, requests, tokens)
        async with load.running():
            under_load = await _measure(small, requests, tokens)
        figures.add(alone, under_load, await _measure(small, requests, tokens))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return figures


def main() -> int:
    """Run the benchmark; return 1 if the small tenant waits longer than twice its time alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("model", type=Path, help="a model folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--requests", type=int, default=20, help="of the small tenant, in each part of a round"
    )
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument(
        "--large-tokens", type=int, help="of each answer of the large tenant; default: as many"
    )
    parser.add_argument("--sequences", type=int, default=8, help="of the engine at once")
    options = parser.parse_args()
    settings = {
        "CYLLM_WORKER_MODEL": MODEL,
        "CYLLM_WORKER_MODEL_PATH": str(options.model.resolve()),
        "CYLLM_WORKER_MAX_NUM_SEQS": str(options.sequences),
        "CYLLM_WORKER_MAX_MODEL_LEN": "2048",
    }
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder), settings) as stack:
        port = int(stack.base_url.rpartition(":")[2])
        small = Target("small", port, create_tenant(stack, "small"), stack.model)
        large = Target("large", port, create_tenant(stack, "large"), stack.model)
        load = Load(large, RATIO_OF_LOADS, options.large_tokens or options.tokens)
        figures = asyncio.run(_run(small, load, options.rounds, options.requests, options.tokens))
    print(
        f"{os.cpu_count()} cores, {options.sequences} sequences, {RATIO_OF_LOADS} streams of the large tenant"
    )
    print(f"{figures.report()}\nlarge tenant: {load.answers} answers, {load.failures} failed")
    return 0 if figures.ratio <= MAX_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
