"""The log of one program: a pipe, and the process at its end that writes and rotates the file."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.local.processes import log_writer

SETTLE_TIMEOUT_S = 2.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Size of a log in bytes, and the number of older logs to keep beside it, at least one."""

    max_bytes: int = 20 * 2**20
    keep: int = 3


class ProgramLog:
    """Holds both ends of the pipe, so a program can write while the writer is being restarted."""

    def __init__(self, path: Path, limits: LogLimits) -> None:
        """Rotate the log of an earlier start and start the writer. Raises OSError."""
        self.path = path
        self._limits = limits
        log_writer.RotatedLog(path, limits.max_bytes, limits.keep).rotate()
        self._read_end, self.write_end = os.pipe()
        try:
            self._writer = self._start_writer()
        except OSError:
            self._close_pipe()
            raise

    def ensure_writer(self) -> None:
        """Start the writer again if it has died. Raises OSError."""
        if self._writer.poll() is not None:
            self._writer = self._start_writer()

    def settle(self) -> None:
        """Wait until the output so far is in the file, at most ``SETTLE_TIMEOUT_S``."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while self._unread_bytes() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        time.sleep(_POLL_S)

    def close(self) -> None:
        """Close the pipe and wait until the writer has written the rest."""
        self._close_pipe()
        with suppress(subprocess.TimeoutExpired):  # a process that outlives its program still writes
            self._writer.wait(SETTLE_TIMEOUT_S)

    def _start_writer(self) -> subprocess.Popen[bytes]:
        arguments = (str(self.path), str(self._limits.max_bytes), str(self._limits.keep))
        return subprocess.Popen(
            [sys.executable, "-I", "-S", log_writer.__file__, *arguments],
            stdin=self._read_end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C ends the programs first
        )

    def _unread_bytes(self) -> int:
        size = struct.pack("i", 0)
        return int(struct.unpack("i", fcntl.ioctl(self._read_end, termios.FIONREAD, size))[0])

    def _close_pipe(self) -> None:
        os.close(self._read_end)
        os.close(self.write_end)
