"""The benchmark's own side follows a training run to its last step."""

from __future__ import annotations

from pathlib import Path

from benchmarks.training.dataset import write_chats
from benchmarks.training.sides import SIDES, WINDOW, read_workload, run_side


def test_the_benchmark_measures_a_run_of_our_trainer(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    write_chats(file, 2 * WINDOW, seed=1)
    run = run_side(SIDES[0], read_workload(tiny_model, file, tmp_path / "cache"), threads=1)
    assert len(run.losses) == 2
    assert 0 < run.seconds < 600
    assert run.cpu_s > 0
    assert run.peak_bytes > 100_000_000
