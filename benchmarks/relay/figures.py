"""What was measured, and the ratios made of it."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass, field

from benchmarks.relay.load import Result

BOOTSTRAPS = 2000


@dataclass
class Figures:
    """``results[side][streams]``: one entry a round. ``cpu_us[side][streams][process]``: per token."""

    rounds: int
    results: dict[str, dict[int, list[Result]]] = field(default_factory=dict)
    cpu_us: dict[str, dict[int, dict[str, list[float]]]] = field(default_factory=dict)

    def add(self, side: str, streams: int, result: Result, cpu_s: dict[str, float], tokens: int) -> None:
        """Note one measurement; ``cpu_s`` is what each process used in it."""
        self.results.setdefault(side, {}).setdefault(streams, []).append(result)
        used = self.cpu_us.setdefault(side, {}).setdefault(streams, {})
        for process, seconds in cpu_s.items():
            used.setdefault(process, []).append(seconds / tokens * 1e6)

    def speeds(self, side: str, streams: int) -> list[float]:
        """Tokens per second, round by round."""
        return [result.tokens_per_s for result in self.results[side][streams]]

    def first_tokens(self, side: str, streams: int) -> list[float]:
        """Seconds to the first token, round by round."""
        return [result.first_token_s for result in self.results[side][streams]]


def ratio(above: list[float], below: list[float]) -> tuple[float, float, float]:
    """Geometric mean of the pairs' ratios, and its 95 % bootstrap interval."""
    logs = [math.log(a / b) for a, b in zip(above, below, strict=True)]
    source = random.Random(0)
    means = sorted(statistics.fmean(source.choices(logs, k=len(logs))) for _ in range(BOOTSTRAPS))
    low, high = means[int(0.025 * BOOTSTRAPS)], means[int(0.975 * BOOTSTRAPS)]
    return math.exp(statistics.fmean(logs)), math.exp(low), math.exp(high)


def _shown(values: tuple[float, float, float]) -> str:
    return f"{values[0]:.3f} ({values[1]:.3f}-{values[2]:.3f})"


def table(figures: Figures) -> str:
    """All figures as Markdown."""
    streams = sorted(figures.results["ours"])
    lines = [
        "| streams | ours tok/s | vLLM server tok/s | bare engine tok/s | ours/vLLM | A/A | ours/bare |",
        "|---|---|---|---|---|---|---|",
    ]
    for n in streams:
        ours, vllm, again, bare = (figures.speeds(side, n) for side in ("ours", "vllm", "vllm again", "bare"))
        lines.append(
            f"| {n} | {statistics.median(ours):.0f} | {statistics.median(vllm):.0f} "
            f"| {statistics.median(bare):.0f} | {_shown(ratio(ours, vllm))} "
            f"| {_shown(ratio(again, vllm))} | {_shown(ratio(ours, bare))} |"
        )
    lines += ["", "Time to first token, median over streams, as a ratio (below 1 is faster):", ""]
    lines += [
        "| streams | ours ms | vLLM server ms | bare engine ms | ours/vLLM | A/A | ours/bare |",
        "|---|---|---|---|---|---|---|",
    ]
    for n in streams:
        ours, vllm, again, bare = (
            figures.first_tokens(side, n) for side in ("ours", "vllm", "vllm again", "bare")
        )
        lines.append(
            f"| {n} | {statistics.median(ours) * 1e3:.1f} | {statistics.median(vllm) * 1e3:.1f} "
            f"| {statistics.median(bare) * 1e3:.1f} | {_shown(ratio(ours, vllm))} "
            f"| {_shown(ratio(again, vllm))} | {_shown(ratio(ours, bare))} |"
        )
    lines += ["", "CPU time per token, microseconds (mean):", ""]
    for side in ("ours", "vllm", "bare"):
        for n in streams:
            used = {name: sum(values) / figures.rounds for name, values in figures.cpu_us[side][n].items()}
            parts = ", ".join(f"{name} {value:.0f}" for name, value in used.items() if value >= 0.5)
            lines.append(f"- {side}, {n} streams: {parts}")
    return "\n".join(lines)
