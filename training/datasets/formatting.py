"""A dataset report as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from training.datasets.report import DatasetReport, Estimate, TokenReport

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def report_text(report: DatasetReport) -> str:
    """Return the report in lines; the verdict comes last, so that it is seen after a long list of faults."""
    return "\n".join(_lines(report))


def _lines(report: DatasetReport) -> Iterator[str]:
    for fault in report.faults:
        yield fault.message
    if report.fault_count > len(report.faults):
        yield f"… and {count_text(report.fault_count - len(report.faults))} more"
    if report.fault_count:
        yield "Faults by code: " + ", ".join(f"{code} {count}" for code, count in report.fault_codes.items())
    yield f"Format: {report.format or 'unknown'}" + (f" (method {report.method})" if report.method else "")
    yield f"Examples: {report.examples} on {report.lines} lines, {bytes_text(report.size_bytes)}"
    if report.duplicates:
        pairs = ", ".join(f"{line} repeats {earlier}" for line, earlier in report.duplicate_lines)
        yield f"Duplicates: {report.duplicates} (lines: {pairs})"
    for note in report.notes:
        place = f" (line {note.line})" if note.line else ""
        count = f" ({note.count} times)" if note.count > 1 else ""
        yield f"Note: {note.message}{place}{count}"
    if report.tokens is not None:
        yield from _token_lines(report.tokens)
    if report.estimate is not None:
        yield from _estimate_lines(report.estimate)
    yield _verdict(report)


def _verdict(report: DatasetReport) -> str:
    if report.is_valid:
        return "Valid."
    reason = count_text(report.fault_count) if report.fault_count else "no example is left to train on"
    return f"Not valid: {reason}."


def _token_lines(tokens: TokenReport) -> Iterator[str]:
    yield f"Samples: {tokens.samples}, {tokens.tokens} tokens, {tokens.trained_tokens} of them trained"
    if tokens.truncated:
        yield f"Truncated to {tokens.max_length} tokens: {tokens.truncated}{_places(tokens.truncated_lines)}"
    for reason, count in tokens.dropped.items():
        yield f"Dropped ({reason}): {count}"
    if tokens.lost_tokens:
        yield f"Tokens lost to cuts and drops: {tokens.lost_tokens}"
    if tokens.dropped:
        yield f"First dropped{_places(tokens.dropped_lines)}"
    spread = tokens.lengths
    if spread is not None:
        shares = f"median {spread.median}, 90 % up to {spread.p90}, 99 % up to {spread.p99}"
        yield f"Lengths: {spread.shortest} to {spread.longest}, mean {spread.mean:.1f}, {shares}"
        highest_count = max(count for _, count in spread.histogram)
        for bound, count in spread.histogram:
            yield f"  up to {bound:>8} {count:>9} {'#' * -(-count * 40 // highest_count)}"


def _places(lines: tuple[int, ...]) -> str:
    return f" (lines {', '.join(map(str, lines))})" if lines else ""


def _estimate_lines(estimate: Estimate) -> Iterator[str]:
    steps = f"{estimate.total_steps} ({estimate.steps_per_epoch} per epoch)"
    yield f"Steps: {steps}, {estimate.total_tokens} tokens"
    if estimate.duration_s is not None:
        yield f"Time: about {estimate.duration_s / 60:.1f} min"
    if estimate.memory_bytes is not None:
        yield f"Memory: about {bytes_text(estimate.memory_bytes)}"


def count_text(count: int) -> str:
    """Return a number of faults in words."""
    return "1 fault" if count == 1 else f"{count} faults"


def bytes_text(size: int) -> str:
    """Return a size with a binary unit."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{size} bytes" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
