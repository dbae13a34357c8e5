"""Sees to it that the engine's own processes end with the worker, even after ``kill -9``."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def kill_children_on_parent_death() -> None:
    """From now on every forked child asks the kernel for SIGKILL when its parent ends (Linux)."""
    if sys.platform == "linux":
        os.register_at_fork(after_in_child=die_with_parent)


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent of this process ends (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
