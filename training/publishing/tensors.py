"""Checks of the values in safetensors files, without a model library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from training.model_files.tensor_headers import FLOAT_BYTES, Tensor, TensorFileError

_CHUNK = 2**22  # a multiple of every size in FLOAT_BYTES


@dataclass(frozen=True, slots=True)
class ValueCheck:
    """``is_finite``: the tensor has neither infinities nor NaN. ``is_zero``: it has only zeros."""

    is_finite: bool
    is_zero: bool


def check_values(file: Path, tensor: Tensor) -> ValueCheck:
    """Check the values of a floating-point tensor. Raises TensorFileError for another type, OSError."""
    if tensor.dtype not in FLOAT_BYTES:
        raise TensorFileError(f"{file.name} has tensors of type {tensor.dtype}")
    is_finite, is_zero = True, True
    with file.open("rb") as source:
        for data in _chunks(source, tensor):
            finite, zero = _check_chunk(data, tensor.dtype)
            is_finite, is_zero = is_finite and finite, is_zero and zero
    return ValueCheck(is_finite, is_zero)


def _chunks(source: BinaryIO, tensor: Tensor) -> Iterator[bytes]:
    source.seek(tensor.start)
    remaining = tensor.end - tensor.start
    while remaining:
        data = source.read(min(_CHUNK, remaining))
        if not data:
            raise TensorFileError("the file is truncated")
        yield data
        remaining -= len(data)


def _check_chunk(data: bytes, dtype: str) -> tuple[bool, bool]:
    if dtype == "BF16":  # the upper half of a float32, which numpy doesn't have
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        values = np.frombuffer(data, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype])
    return bool(np.isfinite(values).all()), not values.any()
