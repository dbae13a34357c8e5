"""Examples of a file in order, and the faults of lines that don't hold a valid one.

``read_examples`` is the one reader for checks, reports and training, so all see the same examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from training.datasets.examples import Example
from training.datasets.faults import Fault, LineFaults, TooManyFaultsError, describe
from training.datasets.formats.detection import ACCEPTED, Format, detect, read_example
from training.datasets.formats.fields import Fields
from training.datasets.json_values import parse_object
from training.datasets.lines import ByteSource, FileTraits, Record, read_records

MAX_IGNORED_NAMES = 20
ExampleOrFault: TypeAlias = Example | Fault


class Reading(msgspec.Struct):
    """Format and traits of a file, and the fields that were ignored. Filled in while the file is read."""

    format: Format | None = None
    traits: FileTraits = msgspec.field(default_factory=FileTraits)
    ignored_fields: Counter[str] = msgspec.field(default_factory=Counter)


def read_examples(source: ByteSource, reading: Reading) -> Iterator[ExampleOrFault]:
    """Yield each example of a file, or its faults. Fills ``reading``. Memory: about one example."""
    for record in read_records(source, reading.traits):
        value = record if isinstance(record, Fault) else parse_object(record)
        if isinstance(value, Fault):
            yield value
        else:
            yield from _example(value, record, reading)


def _example(value: dict[str, object], record: Record | Fault, reading: Reading) -> Iterator[ExampleOrFault]:
    reading.format = reading.format or detect(value)
    faults = LineFaults(record.line)
    if reading.format is None:
        faults.add(record.path, "unknown_format", describe(value), f"the fields of a format: {ACCEPTED}")
        yield from faults.items
        return
    try:
        example, ignored_names = read_example(reading.format, Fields(value, record.path, faults))
    except TooManyFaultsError:
        yield from faults.items
        return
    for name in ignored_names:
        if name in reading.ignored_fields or len(reading.ignored_fields) < MAX_IGNORED_NAMES:
            reading.ignored_fields[name] += 1
    yield from faults.items
    if example is not None and not faults.items:
        yield example
