"""Benchmark of the complete request path against vLLM's HTTP server and the bare engine.

``python -m benchmarks.relay MODEL``. All sides run on the same machine in the same run, with the same model
folder and engine arguments; the side ``ours`` includes API keys, usage and audit records, and ``limited`` is
the same with a tenant and a key that have every limit, and a model that has prices. Each round
measures every side once per number of streams, in a rotating order. It measures vLLM's server twice: the
ratio of the two results (A/A) shows the effect of noise alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psutil

from benchmarks.relay.figures import SIDES, Figures, table
from benchmarks.relay.load import Target
from benchmarks.relay.sides import (
    LOADS,
    MODEL,
    Measure,
    bare_engine,
    http_server,
    measure_load,
    peer,
    wait_until_ready,
    worker_settings,
)
from benchmarks.tenants import LARGE_LIMITS, create_tenant, set_prices
from deploy.local.servers.ports import free_port
from tests.stacks import RunningStack, running_stack


class Processes:
    """The measured processes by name: the stack, the load, and the peers with their engines."""

    def __init__(
        self, stack: RunningStack, server: subprocess.Popen[str], bare: subprocess.Popen[str]
    ) -> None:
        stack_processes = ("gateway", "worker", "valkey", "celery", "beat", "postgres")
        self._roots = {name: psutil.Process(stack.pid(name)) for name in stack_processes}
        self._roots |= {"load": psutil.Process(), "vllm server": psutil.Process(server.pid)}
        self._roots |= {"bare": psutil.Process(bare.pid)}

    def times(self) -> dict[tuple[str, int], float]:
        """Return CPU seconds so far by (name, process id). Children of engines have their own name."""
        cpu_s: dict[tuple[str, int], float] = {}
        for name, root in self._roots.items():
            children = [] if name == "load" else root.children(recursive=True)
            inner = f"{name}'s engine" if name in ("worker", "vllm server", "bare") else name
            for label, process in [(name, root), *((inner, child) for child in children)]:
                with suppress(psutil.NoSuchProcess):  # a Postgres session ended
                    times = process.cpu_times()
                    cpu_s[label, process.pid] = times.user + times.system
        return cpu_s


def _cpu_use(before: dict[tuple[str, int], float], after: dict[tuple[str, int], float]) -> dict[str, float]:
    cpu_s: dict[str, float] = {}
    for (name, pid), seconds in after.items():
        cpu_s[name] = cpu_s.get(name, 0.0) + seconds - before.get((name, pid), 0.0)
    return cpu_s


async def _run_rounds(sides: dict[str, Measure], processes: Processes, rounds: int) -> Figures:
    figures = Figures(rounds)
    for measure in sides.values():
        await measure(32, 64, 900)  # the first batch of this size allocates
    for number in range(rounds):
        shift = number % len(SIDES)
        for name in SIDES[shift:] + SIDES[:shift]:
            for position, load in enumerate(LOADS):
                before = processes.times()
                measurement = (number * len(SIDES) + SIDES.index(name)) * len(LOADS) + position
                result = await measure_load(sides[name], load, measurement)
                cpu_s = _cpu_use(before, processes.times())
                figures.add(name, load.name, result, cpu_s, load.total_tokens)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return figures


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay", description=__doc__)
    parser.add_argument(
        "model", type=Path, help="a model folder; a tiny model measures the relay rather than the engine"
    )
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    model_path = options.model.resolve()
    settings = {name: value for name, value in worker_settings(model_path).items() if value}
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder), settings) as stack,
        peer(model_path, "server", str(port)) as server,
        peer(model_path, "bare") as bare,
    ):
        gateway_port = int(stack.base_url.rpartition(":")[2])
        set_prices(stack)
        limited_key = create_tenant(stack, "limited", LARGE_LIMITS)
        ours = http_server(Target("ours", gateway_port, stack.key, stack.model))
        with_limits = http_server(Target("limited", gateway_port, limited_key, stack.model))
        vllm = http_server(Target("vllm", port, "none", MODEL))
        sides = {
            "ours": ours,
            "limited": with_limits,
            "vllm": vllm,
            "vllm again": vllm,
            "bare": bare_engine(bare),
        }

        async def run() -> Figures:
            await wait_until_ready(vllm)
            return await _run_rounds(sides, Processes(stack, server, bare), options.rounds)

        figures = asyncio.run(run())
    print(f"{platform.machine()}, {os.cpu_count()} cores, medians of {options.rounds} rounds\n")
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(asdict(figures), indent=1))


if __name__ == "__main__":
    main()
