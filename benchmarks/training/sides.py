"""The trainers that are compared, and one run of each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.training.environment import trl_python
from training.datasets.tokens.packing import epoch_order
from training.datasets.tokens.preparation import prepare
from training.datasets.tokens.tokenizer import load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
WINDOW = 8  # chats per optimizer step
SEED = 0
LEARNING_RATE = 1e-3
RANK, ALPHA, MODULES = 8, 16, ["q_proj", "v_proj"]
RUN_TIMEOUT_S = 600


@dataclass(frozen=True)
class Side:
    """A trainer with settings: ``ours`` with options of a job, or TRL with arguments of its SFTConfig.

    ``is_sorted``: TRL gets the chats of each window by length, which is the least padding possible.
    ``is_comparable``: steps have the same chats as ours, so losses can be compared.
    """

    name: str
    is_ours: bool
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_sorted: bool = False
    is_comparable: bool = True


_FLOAT32 = {"bf16": False, "gradient_checkpointing": False}
SIDES = (
    Side("ours", is_ours=True),
    Side("TRL, defaults", is_ours=False),
    Side(
        "TRL, float32, 1x8",
        is_ours=False,
        settings={**_FLOAT32, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
    ),
    Side(
        "TRL, float32, 2x4 by length",
        is_ours=False,
        settings={**_FLOAT32, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        is_sorted=True,
    ),
    Side(
        "TRL, float32, packing",
        is_ours=False,
        settings={
            **_FLOAT32,
            "packing": True,
            "max_length": 1024,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 1,
        },
        is_comparable=False,
    ),
    Side("ours again", is_ours=True),
    Side("ours, bfloat16", is_ours=True, settings={"precision": "bfloat16"}),
    Side(
        "TRL, bfloat16, 1x8",
        is_ours=False,
        settings={
            "gradient_checkpointing": False,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 8,
        },
    ),
)


@dataclass(frozen=True)
class Workload:
    """Chats as a file, and as the token ids and labels of one epoch in our order."""

    model: Path
    file: Path
    examples: list[dict[str, list[int]]]

    @property
    def steps(self) -> int:
        """Optimizer steps of the epoch."""
        return len(self.examples) // WINDOW

    @property
    def tokens(self) -> int:
        """All tokens."""
        return sum(len(example["input_ids"]) for example in self.examples)

    @property
    def trained_tokens(self) -> int:
        """Tokens that are trained."""
        return sum(label != -100 for example in self.examples for label in example["labels"])


@dataclass(frozen=True)
class Run:
    """One run. ``seconds`` and ``cpu_s``: from the start of the first step to the end of the last."""

    losses: list[float]
    seconds: float
    cpu_s: float
    peak_bytes: int


def read_workload(model: Path, file: Path, cache: Path) -> Workload:
    """Return the workload of a file of chats: both trainers get the same tokens and labels."""
    samples = prepare(file, cache, load_tokenizer(model))
    order = epoch_order(SEED, 0, len(samples))
    examples = [
        {"input_ids": list(sample.input_ids), "labels": sample.labels}
        for sample in (samples.sample(index) for index in order)
    ]
    return Workload(model, file, examples)


def run_side(side: Side, workload: Workload, threads: int) -> Run:
    """Run a side once in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        run = _run_ours if side.is_ours else _run_trl
        return run(side, workload, Path(folder), threads)


def _run_ours(side: Side, workload: Workload, folder: Path, threads: int) -> Run:
    spec = {
        "job_id": "benchmark",
        "attempt": 1,
        "base_model": str(workload.model),
        "training_file": str(workload.file),
        "validation_file": None,
        "work_dir": str(folder / "work"),
        "seed": SEED,
        "epochs": 1,
        "batch_size": WINDOW,
        "learning_rate": LEARNING_RATE,
        "options": {"rank": RANK, "alpha": ALPHA, "target_modules": MODULES, "checkpoint_steps": 1000}
        | dict(side.settings),
    }
    (folder / "work").mkdir()
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    command = [sys.executable, "-m", "training.engine", "run", str(folder / "spec.json")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            return _follow(process, workload)
        except StopIteration:
            log_end = (folder / "log").read_text(encoding="utf-8")[-3000:]
            raise SystemExit(f"the trainer ended before its last step:\n{log_end}") from None
        finally:
            process.kill()
            process.communicate()


def _follow(process: subprocess.Popen[bytes], workload: Workload) -> Run:
    """Read events until the last step, and measure the process.

    The trainer measures the time. The use of processors is that between the first and the last step.
    """
    assert process.stdout is not None  # noqa: S101 - Popen opened a pipe
    events = map(json.loads, process.stdout)
    trainer = psutil.Process(process.pid)
    losses: list[float] = []
    marks: list[tuple[float, float]] = []
    peak = 0
    while len(losses) < workload.steps:
        event = next(events)
        if event["type"] == "progress":
            losses.append(event["loss"])
            marks.append((event["elapsed_s"], _cpu_s(trainer)))
            peak = _peak_bytes(process.pid)
    (first_s, first_cpu_s), (seconds, cpu_s) = marks[0], marks[-1]
    return Run(losses, seconds, seconds * (cpu_s - first_cpu_s) / (seconds - first_s), peak)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def _run_trl(side: Side, workload: Workload, folder: Path, threads: int) -> Run:
    request = {
        "method": "supervised",
        "model": str(workload.model),
        "examples": _sorted_windows(workload.examples) if side.is_sorted else workload.examples,
        "settings": dict(side.settings),
        "learning_rate": LEARNING_RATE,
        "seed": SEED,
        "lora": {"r": RANK, "lora_alpha": ALPHA, "target_modules": MODULES, "task_type": "CAUSAL_LM"},
    }
    return Run(**call_trl(request, folder, threads))


def call_trl(request: Mapping[str, Any], folder: Path, threads: int) -> dict[str, Any]:
    """Return the result of a request to ``trl_peer``."""
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    process = subprocess.run(
        [str(trl_python()), "-m", "benchmarks.training.trl_peer", str(folder / "request.json")],
        cwd=ROOT,
        env=_environment(threads),
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    if process.returncode != 0:
        raise SystemExit(f"TRL failed:\n{process.stderr[-3000:]}")
    return dict(json.loads(process.stdout.splitlines()[-1]))


def _environment(threads: int) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _sorted_windows(examples: Sequence[dict[str, list[int]]]) -> list[dict[str, list[int]]]:
    windows = (examples[start : start + WINDOW] for start in range(0, len(examples), WINDOW))
    return [item for window in windows for item in sorted(window, key=lambda item: len(item["input_ids"]))]
