"""Benchmark of the request path against that of an earlier commit of the project.

``python -m benchmarks.revisions COMMIT MODEL``. The stacks of both, and vLLM's HTTP server, run on the same
machine in the same run with the same model folder. Each round measures every side once per load, in a
rotating order, and vLLM's server twice: the ratio of these two (A/A) shows the effect of noise alone. The
earlier commit runs in the environment of this checkout, so its pinned engine must be the same.
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
from contextlib import contextmanager
from pathlib import Path

from benchmarks.relay.figures import ratio
from benchmarks.relay.load import Result, Target
from benchmarks.relay.sides import (
    LOADS,
    MODEL,
    Measure,
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
# Runs in the earlier checkout. Of its code it needs only the stack that its own tests used.
STACK = """
import json, sys, tempfile
from pathlib import Path
from tests.stacks import running_stack

with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder), json.loads(sys.argv[1])) as stack:
    port = int(stack.base_url.rpartition(":")[2])
    print(json.dumps({"port": port, "key": stack.key, "model": stack.model}), flush=True)
    sys.stdin.read()
"""

Speeds = dict[str, dict[str, list[float]]]


@contextmanager
def earlier_stack(commit: str, settings: dict[str, str]) -> Iterator[Target]:
    """Run the stack of a commit in a checkout of its own."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        git = ("git", "-C", str(ROOT), "worktree")
        subprocess.run([*git, "add", "--detach", "--quiet", str(checkout), commit], check=True)
        try:
            with _stack_of(checkout, settings) as target:
                yield target
        finally:
            subprocess.run([*git, "remove", "--force", str(checkout)], check=True)


@contextmanager
def _stack_of(checkout: Path, settings: dict[str, str]) -> Iterator[Target]:
    process = subprocess.Popen(
        [sys.executable, "-c", STACK, json.dumps(settings)],
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
        yield Target("before", address["port"], address["key"], address["model"])
    finally:
        process.stdin.close()
        process.wait(90)


async def _run_rounds(sides: dict[str, Measure], rounds: int) -> Speeds:
    speeds: Speeds = {name: {load.name: [] for load in LOADS} for name in SIDES}
    await wait_until_ready(sides["vllm"])
    for measure in sides.values():
        await measure(32, 64, 0)  # the first batch of this size allocates
    measurement = 1
    for number in range(rounds):
        shift = number % len(SIDES)
        for name in SIDES[shift:] + SIDES[:shift]:
            for load in LOADS:
                result: Result = await measure_load(sides[name], load, measurement)
                speeds[name][load.name].append(result.tokens_per_s)
                measurement += 1
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return speeds


def table(speeds: Speeds) -> str:
    """Format tokens/s as medians, and ratios as geometric means with their 95 % bootstrap intervals."""
    lines = [
        "| streams x tokens | now tok/s | before tok/s | vLLM server tok/s | now/before | now/vLLM "
        "| before/vLLM | A/A |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for load in LOADS:
        medians = (f"{statistics.median(speeds[side][load.name]):.0f}" for side in SIDES[:3])
        ratios = (ratio(speeds[above][load.name], speeds[below][load.name]) for above, below in PAIRS)
        cells = (f"{mean:.3f} ({low:.3f}-{high:.3f})" for mean, low, high in ratios)
        lines.append("| " + " | ".join([load.name, *medians, *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.revisions", description=__doc__)
    parser.add_argument("commit", help="the earlier commit")
    parser.add_argument("model", type=Path, help="a model folder; a tiny model measures the request path")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    model_path = options.model.resolve()
    settings = {name: value for name, value in worker_settings(model_path).items() if value}
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder), settings) as stack,
        earlier_stack(options.commit, settings) as before,
        peer(model_path, "server", str(port)),
    ):
        now = Target("now", int(stack.base_url.rpartition(":")[2]), stack.key, stack.model)
        vllm = http_server(Target("vllm", port, "none", MODEL))
        sides = {"now": http_server(now), "before": http_server(before), "vllm": vllm, "vllm again": vllm}
        print(table(asyncio.run(_run_rounds(sides, options.rounds))))


if __name__ == "__main__":
    main()
