"""Structural check of a dataset file: every line, without a tokenizer and its packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from training.datasets.duplicates import MAX_TRACKED, DuplicateCounter
from training.datasets.examples import Example
from training.datasets.faults import Fault, FaultList, describe
from training.datasets.formats.detection import METHOD_CONTENTS, Method
from training.datasets.lines import ByteSource
from training.datasets.reading import Reading, read_examples
from training.datasets.report import DatasetReport, Note

Visitor: TypeAlias = Callable[[Example], Fault | None]
DEFAULT_MAX_FAULTS = 100
MAX_DUPLICATE_LINES = 10
MAX_COUNTED_FAULTS = 10_000  # a file that is no dataset at all must not cost minutes


def check_structure(
    source: Path | str | ByteSource,
    *,
    max_faults: int = DEFAULT_MAX_FAULTS,
    method: Method | None = None,
    visit: Visitor | None = None,
) -> DatasetReport:
    """Check every line of a file; keep the first ``max_faults`` faults and count all.

    ``method``: the training method the file is meant for, None for any. ``visit`` is called with every
    example and returns its fault if it finds one. Memory is bounded: one example of up to 16 MiB, and 16
    bytes for each of the first four million examples. Raises OSError.
    """
    if isinstance(source, Path | str):
        with Path(source).open("rb") as stream:
            return _check(stream, max_faults, method, visit)
    return _check(source, max_faults, method, visit)


def _check(
    source: ByteSource, max_faults: int, method: Method | None, visit: Visitor | None
) -> DatasetReport:
    reading = Reading()
    faults = FaultList(max_faults)
    duplicates = DuplicateCounter()
    examples = 0
    for item in read_examples(source, reading):
        if isinstance(item, Fault):
            faults.add(item)
        else:
            examples += 1
            duplicates.add(item)
            fault = visit(item) if visit is not None else None
            if fault is not None:
                faults.add(fault)
        if faults.total >= MAX_COUNTED_FAULTS:
            break
    for fault in _file_faults(reading, examples, faults.total, method):
        faults.add(fault)
    return _report(reading, examples, faults, duplicates)


def _file_faults(reading: Reading, examples: int, faults: int, method: Method | None) -> list[Fault]:
    fmt = reading.format
    if not examples and not faults:
        size = reading.traits.size_bytes
        found = "only white space" if size else "an empty file"
        return [Fault(line=1, path="", code="no_examples", found=found, expected="at least one example")]
    if method is not None and fmt is not None and fmt.method != method:
        found = f"{METHOD_CONTENTS[fmt.method]} (format {fmt.name})"
        expected = f"{METHOD_CONTENTS[method]}, for the method {describe(method)}"
        return [Fault(line=1, path="", code="other_method", found=found, expected=expected)]
    return []


def _report(
    reading: Reading, examples: int, faults: FaultList, duplicates: DuplicateCounter
) -> DatasetReport:
    count, lines = duplicates.duplicates(MAX_DUPLICATE_LINES)
    fmt = reading.format
    return DatasetReport(
        format=fmt.name if fmt else None,
        method=fmt.method if fmt else None,
        examples=examples,
        size_bytes=reading.traits.size_bytes,
        lines=reading.traits.lines,
        faults=tuple(faults.first),
        fault_count=faults.total,
        fault_codes=dict(sorted(faults.counts.items())),
        duplicates=count,
        duplicate_lines=lines,
        notes=tuple(_notes(reading, examples, faults.total)),
    )


def _notes(reading: Reading, examples: int, faults: int) -> list[Note]:
    traits = reading.traits
    notes = []
    if faults >= MAX_COUNTED_FAULTS:
        message = f"The check ended after {MAX_COUNTED_FAULTS} faults; the rest of the file was not read."
        notes.append(Note(code="stopped_early", message=message, line=traits.lines))
    if traits.has_bom:
        notes.append(
            Note(code="bom", message="The file begins with a byte order mark, which is skipped.", line=1)
        )
    if traits.blank_lines:
        message = "Blank lines are skipped; line numbers count them."
        notes.append(
            Note(code="blank_lines", message=message, line=traits.first_blank_line, count=traits.blank_lines)
        )
    if traits.has_crlf:
        notes.append(Note(code="crlf", message="Lines end with CR LF."))
    if traits.lacks_last_newline:
        notes.append(
            Note(code="no_last_newline", message="The last line has no line feed.", line=traits.lines)
        )
    if traits.is_array:
        notes.append(
            Note(code="json_array", message="The file is one JSON array; its elements are the examples.")
        )
    for name, count in reading.ignored_fields.items():
        message = f"The field {describe(name)} has no meaning in this format and is ignored."
        notes.append(Note(code="ignored_field", message=message, count=count))
    if examples > MAX_TRACKED:
        message = f"Only the first {MAX_TRACKED} examples were checked for duplicates."
        notes.append(Note(code="duplicates_partial", message=message))
    return notes
