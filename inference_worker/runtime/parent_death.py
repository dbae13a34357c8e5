"""Ends the engine's own processes when the worker dies, even after ``kill -9``."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def bind_children_to_parent() -> None:
    """Bind every process that is forked from now on to its parent (Linux)."""
    if sys.platform == "linux":
        os.register_at_fork(after_in_child=bind_to_parent)


def bind_to_parent() -> None:
    """Ask the kernel for SIGKILL when the parent of this process dies (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
