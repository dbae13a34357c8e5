"""Out-of-memory errors of the device and the host, whichever library raises them, and recovery from them."""

from __future__ import annotations

import errno
import gc

import torch
from safetensors import SafetensorError

PHRASES = (
    "out of memory",  # PyTorch's allocator for GPUs
    "can't allocate memory",  # PyTorch's allocator for CPUs
    "std::bad_alloc",  # any other C++ code of PyTorch
    "Cannot allocate memory",  # strerror of ENOMEM, as quoted by mmap and safetensors
    "can't start new thread",  # Python, if it can't allocate the thread's stack
    "_STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN
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
    """Free the memory of a failed computation. Call it outside the handler, which keeps the exception alive.

    An exception of another thread and its frames refer to each other. Only the garbage collector frees such
    cycles, and it runs after a number of allocations, however large their tensors are.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
