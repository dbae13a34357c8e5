"""Headers of safetensors files, read without a model library.

Format: eight bytes with the length of a JSON header, the header, then the values of all tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

MAX_HEADER_BYTES = 100_000_000  # the library's own limit
FLOAT_BYTES: Mapping[str, int] = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


class TensorFileError(ValueError):
    """The file is not a complete safetensors file. The text names the fault."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Type, shape and place of a tensor. ``start`` and ``end``: offsets in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class _Entry(msgspec.Struct):
    """A tensor as the header describes it. Offsets count from the end of the header."""

    dtype: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]
    data_offsets: tuple[int, int]


_HEADER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENTRY = msgspec.json.Decoder(_Entry)


def read_header(file: Path) -> dict[str, Tensor]:
    """Return the tensors by name, whether or not their values are there. Raises TensorFileError, OSError."""
    return _read_header(file)[0]


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a complete file by name. Raises TensorFileError, OSError."""
    tensors, data_start = _read_header(file)
    _check_places(file, tensors, data_start)
    return tensors


def _read_header(file: Path) -> tuple[dict[str, Tensor], int]:
    """Return the tensors by name, and the offset of the first value."""
    if file.exists() and not file.is_file():  # opening a pipe could wait forever
        raise TensorFileError(f"{file.name} is not a file")
    with file.open("rb") as source:
        length = int.from_bytes(source.read(8), "little")
        if not 0 < length <= MAX_HEADER_BYTES:
            raise TensorFileError(f"{file.name} is not a safetensors file")
        data = source.read(length)
    try:
        header = _HEADER.decode(data)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _tensor(entry, 8 + length) for name, entry in entries.items()}, 8 + length
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TensorFileError(f"the header of {file.name} is damaged") from None


def _tensor(data: msgspec.Raw, data_start: int) -> Tensor:
    entry = _ENTRY.decode(data)
    start, end = entry.data_offsets
    return Tensor(entry.dtype, entry.shape, data_start + start, data_start + end)


def _check_places(file: Path, tensors: Mapping[str, Tensor], data_start: int) -> None:
    """Raise TensorFileError unless the tensors fill the file exactly."""
    position = data_start
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor.start):
        size = FLOAT_BYTES.get(tensor.dtype)
        is_sized = size is None or tensor.end - tensor.start == size * math.prod(tensor.shape)
        if tensor.start != position or not is_sized:
            raise TensorFileError(f"the header of {file.name} is damaged")
        position = tensor.end
    if file.stat().st_size != position:
        raise TensorFileError(f"{file.name} is truncated or has data after its end")
