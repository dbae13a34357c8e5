"""Counts of samples and tokens, gathered one sample at a time."""

from __future__ import annotations

from collections import Counter

from training.datasets.report import LengthDistribution, TokenReport
from training.datasets.tokens.samples import Dropped, Sample, SamplePair

MAX_LINES = 10


class TokenCounts:
    """Totals for a ``TokenReport``. Memory: one counter per different length."""

    def __init__(self, max_length: int | None) -> None:
        self.max_length = max_length
        self.lengths: Counter[int] = Counter()
        self.tokens = 0
        self.trained_tokens = 0
        self.lost_tokens = 0
        self.truncated_count = 0
        self.drop_counts: Counter[str] = Counter()
        self._truncated_lines: list[int] = []
        self._dropped_lines: list[int] = []

    def add(self, sample: Sample | SamplePair, *, length_before: int) -> None:
        """Count a sample that had ``length_before`` tokens; a pair as one with the tokens of both."""
        sequences = _sequences(sample)
        length = token_count(sample)
        self.lost_tokens += length_before - length
        self.lengths[length] += 1
        self.tokens += length
        self.trained_tokens += sum(sequence.loss_mask.count(1) for sequence in sequences)
        if length < length_before:
            self.truncated_count += 1
            _note(self._truncated_lines, sequences[0].line)

    def drop(self, sample: Dropped, *, length_before: int) -> None:
        """Count a sample that is left out."""
        self.lost_tokens += length_before
        self.drop_counts[sample.reason] += 1
        _note(self._dropped_lines, sample.line)

    def report(self) -> TokenReport:
        """Return the totals."""
        return TokenReport(
            samples=self.lengths.total(),
            tokens=self.tokens,
            trained_tokens=self.trained_tokens,
            max_length=self.max_length,
            truncated=self.truncated_count,
            dropped=dict(sorted(self.drop_counts.items())),
            truncated_lines=tuple(self._truncated_lines),
            dropped_lines=tuple(self._dropped_lines),
            lengths=distribution(self.lengths),
            lost_tokens=self.lost_tokens,
        )


def token_count(sample: Sample | SamplePair) -> int:
    """Return the tokens of a sample, of a pair those of both sequences."""
    return sum(len(sequence.input_ids) for sequence in _sequences(sample))


def _sequences(sample: Sample | SamplePair) -> tuple[Sample, ...]:
    return (sample,) if isinstance(sample, Sample) else (sample.chosen, sample.rejected)


def _note(lines: list[int], line: int) -> None:
    if len(lines) < MAX_LINES and line not in lines:
        lines.append(line)


def distribution(lengths: Counter[int]) -> LengthDistribution | None:
    """Return the distribution of lengths, or None if there are none. Percentiles by the nearest rank."""
    if not lengths:
        return None
    sorted_lengths = sorted(lengths.items())
    total = lengths.total()
    histogram: Counter[int] = Counter()
    for length, count in sorted_lengths:
        histogram[1 << (length - 1).bit_length()] += count
    return LengthDistribution(
        shortest=sorted_lengths[0][0],
        median=_percentile(sorted_lengths, total, 50),
        mean=sum(length * count for length, count in sorted_lengths) / total,
        p90=_percentile(sorted_lengths, total, 90),
        p99=_percentile(sorted_lengths, total, 99),
        longest=sorted_lengths[-1][0],
        histogram=tuple(sorted(histogram.items())),
    )


def _percentile(length_counts: list[tuple[int, int]], total: int, percent: int) -> int:
    rank = -(-total * percent // 100)
    for length, count in length_counts:
        rank -= count
        if rank <= 0:
            return length
    return length_counts[-1][0]
