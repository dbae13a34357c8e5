"""The lines of a run's samples in its training file, packed to be stored with the job."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 512 * 1024  # as base64, they fit in one line of the trainer's output
LineDifferences: TypeAlias = NDArray[np.integer[Any]]
_ARRAY_32 = 0xDD  # MessagePack's format of an array with a length of 32 bits
_MAX_FIXINT = 0x7F  # the largest number that MessagePack stores as itself, in one byte


def pack_lines(lines: Sequence[int]) -> bytes:
    """Return the lines of the samples, in their order, as compressed differences; empty if they are too many.

    A file with one sample in each line takes about one byte per thousand samples.
    """
    differences = [after - before for before, after in pairwise((0, *lines))]
    packed = zlib.compress(msgspec.msgpack.encode(differences))
    return packed if len(packed) <= MAX_BYTES else b""


def unpack_differences(packed: bytes) -> LineDifferences:
    """Return each sample's line minus the line of the sample before it; as bytes if all fit in seven bits."""
    data = zlib.decompress(packed)
    if data[0] == _ARRAY_32:
        (count,) = struct.unpack_from(">I", data, 1)
        numbers = np.frombuffer(data, np.uint8, offset=5)
        if len(numbers) == count and numbers.max(initial=0) <= _MAX_FIXINT:
            return numbers
    return np.array(msgspec.msgpack.decode(data, type=list[int]), np.int64)


def lines_of(differences: LineDifferences, samples: Collection[int]) -> list[int]:
    """Return the lines of distinct samples, in ascending order. Sums the differences without a copy."""
    lines, line, start = [], 0, 0
    for sample in sorted(samples):
        line += int(differences[start : sample + 1].sum(dtype=np.int64))
        start = sample + 1
        lines.append(line)
    return lines
