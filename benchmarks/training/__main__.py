"""Benchmark of the trainer against TRL's SFTTrainer, with TRL's defaults and with its best settings here.

``python -m benchmarks.training [MODEL]``. Every side trains the same LoRA adapter on the same tokens of one
generated dataset of chats with skewed lengths, 8 chats per optimizer step. Each round runs every side once,
in a rotating order, each in a new process. Our trainer runs twice per round: the ratio of the two (A/A)
shows the effect of noise alone.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.training.dataset import write_chats
from benchmarks.training.environment import trl_python
from benchmarks.training.figures import Runs, report
from benchmarks.training.sides import SIDES, WINDOW, Side, read_workload, run_side
from tests.models import smollm2_folder

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@contextmanager
def _locked(path: Path | None) -> Iterator[None]:
    """Hold a lock file, for machines on which other work may run at the same time."""
    if path is None:
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _host() -> str:
    """Return the processor's name, cores and the features that matrix products use."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name.strip(): value.strip() for name, value in values.items()}
    features = [name for name in FEATURES if name in fields.get("flags", "").split()]
    return f"{fields.get('model name', platform.machine())}, {os.cpu_count()} cores ({', '.join(features)})"


def _selected(names: list[str] | None) -> list[Side]:
    return [side for side in SIDES if not names or side.name in names]


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument(
        "model", type=Path, nargs="?", help="folder of the base model; by default SmolLM2-135M"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps per run")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="processors of each side")
    parser.add_argument("--side", action="append", help=f"one of: {'; '.join(side.name for side in SIDES)}")
    parser.add_argument("--json", type=Path, help="file for all runs; those in it are kept and added to")
    parser.add_argument("--lock", type=Path, help="lock file to hold during each round")
    options = parser.parse_args()
    runs: Runs = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    trl_python()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "chats.jsonl"
        write_chats(file, options.steps * WINDOW, seed=1)
        workload = read_workload((options.model or smollm2_folder()).resolve(), file, Path(folder) / "cache")
        sides = _selected(options.side)
        for number in range(options.rounds):
            first = len(runs.get(sides[0].name, [])) % len(sides)
            with _locked(options.lock):
                results = {
                    side.name: run_side(side, workload, options.threads)
                    for side in sides[first:] + sides[:first]
                }
            for name, run in results.items():
                runs.setdefault(name, []).append(asdict(run))
                speed = workload.tokens / run.seconds
                print(f"round {number + 1}: {name}: {speed:.0f} tokens/s", file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps(runs, indent=1))
    print(f"{_host()}, {options.threads} used; {len(workload.examples)} chats, ", end="")
    print(f"{workload.tokens} tokens, {workload.trained_tokens} of them trained\n")
    print(report(runs, workload))


if __name__ == "__main__":
    main()
