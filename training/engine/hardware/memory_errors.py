"""Errors that say that memory of the device or the host ran out, in whatever words a library says it."""

from __future__ import annotations

import errno

import torch
from safetensors import SafetensorError

# Of PyTorch's allocators, of mmap and safetensors (strerror of ENOMEM), of Python without room for a stack.
PHRASES = ("out of memory", "can't allocate memory", "Cannot allocate memory", "can't start new thread")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one that it was raised from, says that memory ran out."""
    cause: BaseException | None = error
    while cause is not None:
        if _says_out_of_memory(cause):
            return True
        cause = cause.__cause__
    return False


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    text = str(error)
    return isinstance(error, (RuntimeError, SafetensorError)) and any(phrase in text for phrase in PHRASES)
