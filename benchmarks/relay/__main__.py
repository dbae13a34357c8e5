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
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import psutil

from benchmarks.relay.figures import SIDES, Figures, table
from benchmarks.relay.load import Load, Result, StreamError, Target, mean_result, run_load
from benchmarks.tenants import LARGE_LIMITS, create_tenant, set_prices
from deploy.local.servers.ports import free_port
from tests.stacks import ROOT, RunningStack, running_stack

MODEL = "benchmark"
# With short answers, the cost of a request outweighs that of its tokens.
LOADS = (Load(1, 512), Load(8, 256), Load(32, 128), Load(1, 8, 64), Load(8, 8, 24), Load(32, 8, 12))
MAX_REPEATS = max(load.repeats for load in LOADS)
MAX_NUM_SEQS = "128"
MAX_MODEL_LEN = "2048"

Measure = Callable[[int, int, int], Awaitable[Result]]


def _worker_settings(model_path: Path) -> dict[str, str]:
    return {
        "CYLLM_WORKER_MODEL": MODEL,
        "CYLLM_WORKER_MODEL_PATH": str(model_path),
        "CYLLM_WORKER_MAX_NUM_SEQS": MAX_NUM_SEQS,
        "CYLLM_WORKER_MAX_MODEL_LEN": MAX_MODEL_LEN,
        "CYLLM_REDIS_URL": "",
    }


@contextmanager
def _peer(model_path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, **_worker_settings(model_path), "CYLLM_REDIS_URL": "redis://unused"}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.relay.peers", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if arguments[0] == "bare" else log,
            stderr=log,
            text=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def _bare(process: subprocess.Popen[str]) -> Measure:
    assert process.stdout is not None  # noqa: S101 - Popen opened a pipe
    _read_json_line(process)

    def request(streams: int, tokens: int, salt: int) -> Result:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
        process.stdin.write(json.dumps({"streams": streams, "tokens": tokens, "salt": salt}) + "\n")
        process.stdin.flush()
        return Result(**json.loads(_read_json_line(process)))

    async def measure(streams: int, tokens: int, salt: int) -> Result:
        return await asyncio.to_thread(request, streams, tokens, salt)

    return measure


def _read_json_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that is JSON. vLLM logs to the same pipe."""
    assert process.stdout is not None  # noqa: S101 - Popen opened a pipe
    while not (line := process.stdout.readline()).startswith("{"):
        if process.poll() is not None:
            raise SystemExit("the bare engine exited")
    return line


def _http(target: Target) -> Measure:
    async def measure(streams: int, tokens: int, salt: int) -> Result:
        return await run_load(target, streams, tokens, salt)

    return measure


async def _wait_until_ready(measure: Measure, timeout_s: float = 180) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                await measure(1, 8, 999)
                return
            except (OSError, StreamError):
                await asyncio.sleep(0.5)


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
                # Each side has its own prompts, so none hits the prefix cache entries of another.
                salt = ((number * len(SIDES) + SIDES.index(name)) * len(LOADS) + position) * MAX_REPEATS
                results = [
                    await sides[name](load.streams, load.tokens, salt + repeat)
                    for repeat in range(load.repeats)
                ]
                cpu_s = _cpu_use(before, processes.times())
                figures.add(name, load.name, mean_result(results), cpu_s, load.total_tokens)
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
    settings = {name: value for name, value in _worker_settings(model_path).items() if value}
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder), settings) as stack,
        _peer(model_path, "server", str(port)) as server,
        _peer(model_path, "bare") as bare,
    ):
        gateway_port = int(stack.base_url.rpartition(":")[2])
        set_prices(stack)
        limited_key = create_tenant(stack, "limited", LARGE_LIMITS)
        ours = _http(Target("ours", gateway_port, stack.key, stack.model))
        with_limits = _http(Target("limited", gateway_port, limited_key, stack.model))
        vllm = _http(Target("vllm", port, "none", MODEL))
        sides = {"ours": ours, "limited": with_limits, "vllm": vllm, "vllm again": vllm, "bare": _bare(bare)}

        async def run() -> Figures:
            await _wait_until_ready(vllm)
            return await _run_rounds(sides, Processes(stack, server, bare), options.rounds)

        figures = asyncio.run(run())
    print(f"{platform.machine()}, {os.cpu_count()} cores, medians of {options.rounds} rounds\n")
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(asdict(figures), indent=1))


if __name__ == "__main__":
    main()
