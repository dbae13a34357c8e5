"""The training samples of a step as text, read from the job's training file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext

from tenants.files.models import StoredFile
from tenants.files.selectors import file_open
from training.datasets.excerpts import read_lines

MAX_SHOWN = 50
MAX_CHARS = 2000  # per example
MAX_PARSED_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class StepSample:
    """An example of a step. ``count``: its samples in the step. ``text``: None if it can't be shown."""

    line: int
    count: int
    text: str | None
    is_cut: bool = False


def samples_of_lines(lines: Sequence[int], file: StoredFile | None) -> tuple[list[StepSample], str]:
    """Return the samples on these lines, the first ``MAX_SHOWN`` with text, and why texts are missing.

    Without a file, no sample has a text.
    """
    counts = Counter(lines)
    problem = ""
    examples: dict[int, bytes] = {}
    if file is not None:
        try:
            with file_open(file) as source:
                examples = read_lines(source, list(counts)[:MAX_SHOWN])
        except OSError:
            problem = gettext("The file can't be read from the storage at the moment.")
    return [_sample(line, count, examples.get(line)) for line, count in counts.items()], problem


def _sample(line: int, count: int, data: bytes | None) -> StepSample:
    if data is None:
        return StepSample(line, count, None)
    text = _readable(data)
    return StepSample(line, count, text[:MAX_CHARS], len(text) > MAX_CHARS)


def _readable(data: bytes) -> str:
    """Return an example as indented JSON with its characters unescaped; a long one as it is."""
    if len(data) > MAX_PARSED_BYTES:
        return data[: 4 * MAX_CHARS + 4].decode(errors="replace")
    try:
        text = json.dumps(json.loads(data), indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = data.decode(errors="replace")
    return text.encode(errors="replace").decode()  # half of a surrogate pair can't be sent
