"""The report on a dataset file, as the API, the commands and the trainer show it. Plain data."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from training.datasets.faults import Fault
from training.datasets.formats.detection import FormatName, Method

DropReason: TypeAlias = Literal["too_long", "no_trained_tokens"]


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A remark that is not a fault. ``line``: its first line, 0 for the whole file."""

    code: str
    message: str
    line: int = 0
    count: int = 1


class LengthDistribution(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens per sample. ``histogram``: pairs of an upper bound (a power of two) and a count."""

    shortest: int
    median: int
    mean: float
    p90: int
    p99: int
    longest: int
    histogram: tuple[tuple[int, int], ...]


class TokenReport(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset in tokens of a base model. Tokens and lengths are those of the samples that are left.

    A sample is a sequence to train on; a pair counts once. There are more samples than examples where the
    chat template needs one per answer.
    """

    samples: int
    tokens: int
    trained_tokens: int
    max_length: int | None
    truncated: int  # samples cut after the last complete answer that fits
    dropped: dict[str, int]  # samples left out, by reason
    truncated_lines: tuple[int, ...]  # the first few
    dropped_lines: tuple[int, ...]  # the first few
    lengths: LengthDistribution | None
    lost_tokens: int = 0  # after a cut, and of dropped samples


class RunFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a run, which the estimates need. None: chosen from the number of examples."""

    epochs: int | None
    batch_size: int | None
    tokens_per_s: float | None = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Estimated cost of training.

    ``duration_s`` is None without a known speed, ``memory_bytes`` until the job's request is checked
    (``training.requests.memory_estimates``).
    """

    steps_per_epoch: int
    total_steps: int
    total_tokens: int
    duration_s: float | None
    memory_bytes: int | None = None


class DatasetReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a check. ``faults``: the first ones; ``fault_count`` and ``fault_codes`` count all of them.

    ``duplicates``: examples equal to an earlier one; ``duplicate_lines``: some, (line, earlier line).
    """

    format: FormatName | None
    method: Method | None
    examples: int
    size_bytes: int
    lines: int
    faults: tuple[Fault, ...]
    fault_count: int
    fault_codes: dict[str, int]
    duplicates: int
    duplicate_lines: tuple[tuple[int, int], ...]
    notes: tuple[Note, ...]
    tokens: TokenReport | None = None
    estimate: Estimate | None = None

    @property
    def is_valid(self) -> bool:
        """True if the file can be trained on."""
        has_samples = self.tokens is None or self.tokens.samples > 0
        return self.fault_count == 0 and self.examples > 0 and has_samples


class Piece(msgspec.Struct, frozen=True):
    """Consecutive tokens of one kind, as text."""

    text: str
    is_trained: bool


class SampleText(msgspec.Struct, frozen=True):
    """A sample in pieces, cut if it is long. ``role``: chosen or rejected, of a pair."""

    line: int
    tokens: int
    trained_tokens: int
    pieces: tuple[Piece, ...]
    role: str = ""
