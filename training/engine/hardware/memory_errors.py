"""Out-of-memory errors of the device and the host, whichever library raises them, and recovery from them."""

from __future__ import annotations

import errno
import gc

import torch
from safetensors import SafetensorError

PHRASES = (
    *("out of memory", "can't allocate memory"),  # of PyTorch's two allocators
    "std::bad_alloc",  # of anything else in PyTorch
    "Cannot allocate memory",  # strerror of ENOMEM, as quoted by mmap and safetensors
    "can't start new thread",  # of Python, if a stack can't be allocated
    "_STATUS_ALLOC_FAILED",  # of cuBLAS and cuDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one of its causes, says that memory ran out."""
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


def release_memory() -> None:
    """Free the memory of a computation that failed. Call it after the exception's handler.

    The errors of other threads refer to their frames, and these to the errors: only the collector frees such
    cycles, and it counts objects, not the bytes of their tensors.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
