"""The end of processes that tests start."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import psutil

from tests.patience import PATIENCE_S


def is_dead(pid: int) -> bool:
    """Return whether a process has ended, even if its parent hasn't noticed yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end_process(
    process: subprocess.Popen[Any], number: int = signal.SIGTERM, timeout_s: float = PATIENCE_S
) -> None:
    """Send a signal and wait for the end. Raises TimeoutExpired if it must be killed.

    A process that goes on would make a later test fail, with a ResourceWarning.
    """
    process.send_signal(number)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
