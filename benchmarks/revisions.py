"""Benchmark of the request path against that of an earlier commit of the project.

``python -m benchmarks.revisions COMMIT MODEL``. The stacks of both, and vLLM's HTTP server, run on the same
machine in the same run with the same model folder. Each round measures every side once per load, in a
rotating order, and vLLM's server twice: the ratio of these two (A/A) shows the effect of noise alone. Speeds
also differ from start to start, which the A/A ratio doesn't show, so everything is started anew ``--starts``
times.

The earlier commit runs in the environment of this checkout, so its pinned engine must be the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.relay.figures import ratio
from benchmarks.relay.load import Target
from benchmarks.relay.sides import (
    LOADS,
    MODEL,
    http_server,
    measure_load,
    peer,
    wait_until_ready,
    worker_settings,
)
from deploy.local.servers.ports import free_port
from tests.stacks import ROOT, running_stack

SIDES = ("now", "before", "vllm", "vllm again")
PAIRS = (("now", "before"), ("now", "vllm"), ("before", "vllm"), ("vllm again", "vllm"))
ENGINE_PARENTS = ("worker", "server")
# Run in the earlier checkout. Of its code it needs only the stack that its own tests used.
STACK_SCRIPT = """
import json, sys, tempfile
from pathlib import Path
from tests.stacks import running_stack

with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder), json.loads(sys.argv[1])) as stack:
    port = int(stack.base_url.rpartition(":")[2])
    records = (stack.state_dir / "run").glob("*.json")
    pids = {record.stem: json.loads(record.read_text())["pid"] for record in records}
    print(json.dumps({"port": port, "key": stack.key, "model": stack.model, "pids": pids}), flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Side:
    """A running server and its processes by name."""

    target: Target
    pids: dict[str, int]

    def cpu_s(self) -> float:
        """Return the processor time so far of all processes but the engine."""
        total_s = 0.0
        for name, pid in self.pids.items():
            process = psutil.Process(pid)
            children = [] if name in ENGINE_PARENTS else process.children(recursive=True)
            for member in (process, *children):
                with suppress(psutil.NoSuchProcess):  # it has just ended, and counts with its parent now
                    times = member.cpu_times()
                    total_s += times.user + times.system
                    if name not in ENGINE_PARENTS:
                        total_s += times.children_user + times.children_system
        return total_s


@dataclass
class Figures:
    """Measurements of each side by load: tokens per second, and milliseconds of CPU time per request."""

    speeds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    cpu_ms: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, side: str, load: str, tokens_per_s: float, cpu_ms: float) -> None:
        """Add one measurement."""
        self.speeds.setdefault((side, load), []).append(tokens_per_s)
        self.cpu_ms.setdefault((side, load), []).append(cpu_ms)


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    """Check a commit out into a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        git = ("git", "-C", str(ROOT), "worktree")
        subprocess.run([*git, "add", "--detach", "--quiet", str(checkout), commit], check=True)
        try:
            yield checkout
        finally:
            subprocess.run([*git, "remove", "--force", str(checkout)], check=True)


@contextmanager
def _earlier_stack(checkout: Path, settings: dict[str, str]) -> Iterator[Side]:
    process = subprocess.Popen(
        [sys.executable, "-c", STACK_SCRIPT, json.dumps(settings)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - Popen opened pipes
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the stack of the earlier commit has not started")
        address = json.loads(line)
        target = Target("before", address["port"], address["key"], address["model"])
        yield Side(target, address["pids"])
    finally:
        process.stdin.close()
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _current_stack(settings: dict[str, str]) -> Iterator[Side]:
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder), settings) as stack:
        port = int(stack.base_url.rpartition(":")[2])
        records = (stack.state_dir / "run").glob("*.json")
        pids = {record.stem: stack.pid(record.stem) for record in records}
        yield Side(Target("now", port, stack.key, stack.model), pids)


@contextmanager
def _all_sides(checkout: Path, model_path: Path) -> Iterator[dict[str, Side]]:
    """Start the servers of all sides."""
    settings = {name: value for name, value in worker_settings(model_path).items() if value}
    port = free_port()
    with ExitStack() as servers:
        now = servers.enter_context(_current_stack(settings))
        before = servers.enter_context(_earlier_stack(checkout, settings))
        process = servers.enter_context(peer(model_path, "server", str(port)))
        vllm = Side(Target("vllm", port, "none", MODEL), {"server": process.pid})
        yield {"now": now, "before": before, "vllm": vllm, "vllm again": vllm}


async def _run_rounds(sides: dict[str, Side], rounds: int, figures: Figures) -> None:
    measures = {name: http_server(side.target) for name, side in sides.items()}
    await wait_until_ready(measures["vllm"])
    for measure in measures.values():
        await measure(32, 64, 0)  # the first batch of this size allocates
    measurement = 1
    for number in range(rounds):
        shift = number % len(SIDES)
        for name in SIDES[shift:] + SIDES[:shift]:
            for load in LOADS:
                before_s = sides[name].cpu_s()
                result = await measure_load(measures[name], load, measurement)
                cpu_ms = (sides[name].cpu_s() - before_s) * 1e3 / (load.streams * load.repeats)
                figures.add(name, load.name, result.tokens_per_s, cpu_ms)
                measurement += 1
        print(f"round {number + 1} of {rounds}", file=sys.stderr)


def table(figures: Figures) -> str:
    """Format medians, and the ratios of speeds as geometric means with their 95 % bootstrap intervals."""
    lines = [
        "| streams x tokens | now tok/s | before tok/s | vLLM server tok/s | now/before | now/vLLM "
        "| before/vLLM | A/A | now ms/request | before ms/request | vLLM server ms/request |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for load in LOADS:
        speeds = (f"{statistics.median(figures.speeds[side, load.name]):.0f}" for side in SIDES[:3])
        times = (f"{statistics.median(figures.cpu_ms[side, load.name]):.1f}" for side in SIDES[:3])
        pairs = (
            (figures.speeds[above, load.name], figures.speeds[below, load.name]) for above, below in PAIRS
        )
        ratios = (
            f"{mean:.3f} ({low:.3f}-{high:.3f})" for mean, low, high in (ratio(*pair) for pair in pairs)
        )
        lines.append("| " + " | ".join([load.name, *speeds, *ratios, *times]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.revisions", description=__doc__)
    parser.add_argument("commit", help="the earlier commit")
    parser.add_argument("model", type=Path, help="a model folder; a tiny model measures the request path")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3, help="rounds after each start")
    options = parser.parse_args()
    figures = Figures()
    with _checkout(options.commit) as checkout:
        for _ in range(options.starts):
            with _all_sides(checkout, options.model.resolve()) as sides:
                asyncio.run(_run_rounds(sides, options.rounds, figures))
    print(table(figures))


if __name__ == "__main__":
    main()
