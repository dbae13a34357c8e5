"""Tables of the runs: speed, processor time, memory, ratios and losses side by side."""

from __future__ import annotations

import statistics
from typing import Any, TypeAlias

from benchmarks.relay.figures import ratio
from benchmarks.training.sides import SIDES, Workload

Runs: TypeAlias = dict[str, list[dict[str, Any]]]
OURS = "ours"


def report(runs: Runs, workload: Workload) -> str:
    """Format all runs as Markdown."""
    return "\n".join([*_speeds(runs, workload), "", *_losses(runs)])


def _speeds(runs: Runs, workload: Workload) -> list[str]:
    lines = [
        "| side | trained tok/s | tok/s | tok per CPU second | peak GB | ours/side | ours/side by CPU time |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in (side.name for side in SIDES if side.name in runs):
        seconds, cpu_s = _column(runs, name, "seconds"), _column(runs, name, "cpu_s")
        median = statistics.median(seconds)
        cells = [
            f"{workload.trained_tokens / median:.0f}",
            f"{workload.tokens / median:.0f}",
            f"{workload.tokens / statistics.median(cpu_s):.0f}",
            f"{statistics.median(_column(runs, name, 'peak_bytes')) / 1e9:.1f}",
            _ratio(seconds, _column(runs, OURS, "seconds")),
            _ratio(cpu_s, _column(runs, OURS, "cpu_s")),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _column(runs: Runs, name: str, field: str) -> list[float]:
    return [run[field] for run in runs.get(name, [])]


def _ratio(side: list[float], ours: list[float]) -> str:
    """Return how many times faster ours is, from pairs of runs of the same round."""
    pairs = min(len(side), len(ours))
    if not pairs:
        return ""
    mean, low, high = ratio(side[:pairs], ours[:pairs])
    return f"{mean:.2f} ({low:.2f}-{high:.2f})"


def _losses(runs: Runs) -> list[str]:
    """Losses of the first run of each side whose steps have the same chats."""
    names = [side.name for side in SIDES if side.name in runs and side.is_comparable]
    lines = [f"| step | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for number, losses in enumerate(zip(*(runs[name][0]["losses"] for name in names), strict=True)):
        lines.append(f"| {number + 1} | {' | '.join(f'{loss:.6f}' for loss in losses)} |")
    return lines
