"""Counts equal examples in bounded memory: 16 bytes each, a 64-bit digest and a line."""

from __future__ import annotations

from array import array
from hashlib import blake2b

import msgspec

from training.datasets.examples import ChatExample, Example

MAX_TRACKED = 4_000_000  # examples: 64 MB
_BUCKETS = 256
_ENCODER = msgspec.json.Encoder()


def digest(example: Example) -> int:
    """Return 64 bits that identify an example by its content; lines and paths don't count."""
    if isinstance(example, ChatExample):
        parts: tuple[object, ...] = (example.messages, example.tools)
    else:
        parts = (example.prompt, example.chosen, example.rejected, example.tools)
    content = _ENCODER.encode(parts)
    return int.from_bytes(blake2b(content, digest_size=8).digest())


class DuplicateCounter:
    """Digests and line numbers of a file's examples, in buckets: one at a time is counted, to save memory."""

    def __init__(self) -> None:
        self._digests = [array("Q") for _ in range(_BUCKETS)]
        self._lines = [array("Q") for _ in range(_BUCKETS)]
        self.tracked_count = 0

    def add(self, example: Example) -> None:
        """Remember an example, unless there are too many already."""
        if self.tracked_count < MAX_TRACKED:
            value = digest(example)
            self._digests[value % _BUCKETS].append(value)
            self._lines[value % _BUCKETS].append(example.line)
            self.tracked_count += 1

    def duplicates(self, limit: int) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Return how many examples equal an earlier one, and the first ``limit`` as (line, earlier line)."""
        count = 0
        first: list[tuple[int, int]] = []
        for digests, lines in zip(self._digests, self._lines, strict=True):
            first_lines: dict[int, int] = {}
            for value, line in zip(digests, lines, strict=True):
                earlier = first_lines.setdefault(value, line)
                if earlier != line:
                    count += 1
                    first.append((line, earlier))
            first = sorted(first)[:limit]
        return count, tuple(first)
