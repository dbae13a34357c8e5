"""Log output that never blocks the caller: a bounded queue, written to standard error by a thread."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue

from typing_extensions import override

MAX_QUEUED_BYTES = 4 * 2**20
FLUSH_TIMEOUT_S = 1.0
_FLUSH_INTERVAL_S = 0.005
# A thread that wakes up takes the interpreter from the event loop, so it writes the lines of a while at once.
_GATHER_S = 0.02
_WRITE_BYTES = 2**16  # the capacity of a pipe


class QueuedHandler(logging.Handler):
    """Queues formatted lines for a daemon thread, which writes them to a file descriptor.

    A full queue drops further lines; their number is logged once writing resumes. The thread writes to the
    descriptor itself, because a blocked ``sys.stderr`` would keep the interpreter from exiting. A line that
    is queued when the process is killed is lost.

    A signal handler or a finalizer may log in the midst of ``emit()``, on the same thread. So ``emit()``
    takes no lock but the reentrant one of ``logging.Handler``, the queue is reentrant too, and each counter
    is written either under that lock or by the thread.
    """

    def __init__(self, descriptor: int = 2, max_bytes: int = MAX_QUEUED_BYTES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Empty the queue: a forked process has no thread, and its parent writes the queued lines."""
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._accepted_bytes = 0
        self._written_bytes = 0
        self._dropped_lines = 0
        self._reported_lines = 0
        self._has_thread = False

    @property
    def _queued_bytes(self) -> int:
        return self._accepted_bytes - self._written_bytes

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception as error:  # such as a wrong number of arguments; handleError() could block
            text = (
                f"{record.pathname}:{record.lineno}: a log record can't be formatted: {type(error).__name__}"
            )
        line = f"{text}\n".encode(errors="backslashreplace")
        size = len(line)
        if self._queued_bytes + size > self._max_bytes:
            self._dropped_lines += 1
            return
        self._accepted_bytes += size
        self._lines.put(line)
        if not self._has_thread:
            self._has_thread = True
            threading.Thread(target=self._write_lines, name="log-output", daemon=True).start()

    @override
    def flush(self) -> None:
        """Wait until all lines are written, at most ``FLUSH_TIMEOUT_S``."""
        deadline = time.monotonic() + FLUSH_TIMEOUT_S
        while self._queued_bytes and time.monotonic() < deadline:
            time.sleep(_FLUSH_INTERVAL_S)

    def _write_lines(self) -> None:
        while True:
            data = self._next_lines()
            self._write(data)
            self._written_bytes += len(data)
            if self._reported_lines < self._dropped_lines and self._queued_bytes <= self._max_bytes // 2:
                self._put_report()

    def _next_lines(self) -> bytes:
        """Wait for a line, and return it with those that follow soon, up to about ``_WRITE_BYTES``."""
        lines = [self._lines.get()]
        time.sleep(_GATHER_S)
        size = len(lines[0])
        with suppress(Empty):
            while size < _WRITE_BYTES:
                lines.append(self._lines.get_nowait())
                size += len(lines[-1])
        return b"".join(lines)

    def _put_report(self) -> None:
        number = self._dropped_lines - self._reported_lines
        self._reported_lines += number
        record = logging.makeLogRecord(
            {
                "name": "cyllm.log",
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": "%d log lines were dropped: the log output was not read in time",
                "args": (number,),
            }
        )
        line = f"{self.format(record)}\n".encode()
        self._written_bytes -= len(line)  # this thread's counter
        self._lines.put(line)

    def _write(self, data: bytes) -> None:
        """Write the data. Without a reader or with a full disk, it is discarded."""
        with suppress(OSError):
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:  # another process has made the shared pipe non-blocking
                    time.sleep(0.05)
