"""The measurements, and the tables and ratios derived from them."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.relay.load import Result

SIDES = ("ours", "limited", "vllm", "vllm again", "bare")
BOOTSTRAPS = 2000


@dataclass
class Figures:
    """All measurements.

    ``results[side][load]`` has one entry per round. ``cpu_us[side][load][process]`` has one entry per
    round, in microseconds per token.
    """

    rounds: int
    results: dict[str, dict[str, list[Result]]] = field(default_factory=dict)
    cpu_us: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    def add(self, side: str, load: str, result: Result, cpu_s: dict[str, float], tokens: int) -> None:
        """Add one measurement; ``cpu_s`` is the CPU time of each process during it."""
        self.results.setdefault(side, {}).setdefault(load, []).append(result)
        cpu_us = self.cpu_us.setdefault(side, {}).setdefault(load, {})
        for process, seconds in cpu_s.items():
            cpu_us.setdefault(process, []).append(seconds / tokens * 1e6)

    def speeds(self, side: str, load: str) -> list[float]:
        """Return the tokens per second of each round."""
        return [result.tokens_per_s for result in self.results[side][load]]

    def first_tokens(self, side: str, load: str) -> list[float]:
        """Return the seconds to the first token of each round."""
        return [result.first_token_s for result in self.results[side][load]]


def ratio(above: list[float], below: list[float]) -> tuple[float, float, float]:
    """Return the geometric mean of the pairwise ratios and its 95 % bootstrap interval."""
    logs = [math.log(a / b) for a, b in zip(above, below, strict=True)]
    source = random.Random(0)
    means = sorted(statistics.fmean(source.choices(logs, k=len(logs))) for _ in range(BOOTSTRAPS))
    low, high = means[int(0.025 * BOOTSTRAPS)], means[int(0.975 * BOOTSTRAPS)]
    return math.exp(statistics.fmean(logs)), math.exp(low), math.exp(high)


def _format_ratio(values: tuple[float, float, float]) -> str:
    return f"{values[0]:.3f} ({values[1]:.3f}-{values[2]:.3f})"


def table(figures: Figures) -> str:
    """Format all figures as Markdown."""
    lines = _ratio_table(figures.speeds, "tok/s", 0, 1.0, figures)
    lines += ["", "Time to first token, median over streams, as a ratio (below 1 is faster):", ""]
    lines += _ratio_table(figures.first_tokens, "ms", 1, 1e3, figures)
    lines += ["", "CPU time per token, microseconds (mean):", ""]
    return "\n".join(lines + _cpu_lines(figures))


def _ratio_table(
    values_of: Callable[[str, str], list[float]], unit: str, digits: int, scale: float, figures: Figures
) -> list[str]:
    lines = [
        f"| streams x tokens | ours {unit} | vLLM server {unit} | bare engine {unit} | ours/vLLM | A/A "
        "| ours/bare | with limits/vLLM | with limits/without |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for load in figures.results["ours"]:
        ours, with_limits, vllm, again, bare = (values_of(side, load) for side in SIDES)
        medians = (f"{statistics.median(values) * scale:.{digits}f}" for values in (ours, vllm, bare))
        pairs = ((ours, vllm), (again, vllm), (ours, bare), (with_limits, vllm), (with_limits, ours))
        ratios = (_format_ratio(ratio(*pair)) for pair in pairs)
        lines.append("| " + " | ".join([load, *medians, *ratios]) + " |")
    return lines


def _cpu_lines(figures: Figures) -> list[str]:
    lines = []
    for side in ("ours", "limited", "vllm", "bare"):
        for load, cpu_us in figures.cpu_us[side].items():
            means = {name: sum(values) / figures.rounds for name, values in cpu_us.items()}
            parts = ", ".join(f"{name} {mean:.0f}" for name, mean in means.items() if mean >= 0.5)
            lines.append(f"- {side}, {load}: {parts}")
    return lines
