"""Log output that never blocks the caller: a bounded queue, written to standard error by a thread."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from contextlib import suppress

from typing_extensions import override

MAX_QUEUED_BYTES = 4 * 2**20
FLUSH_TIMEOUT_S = 1.0
_WRITE_BYTES = 2**16  # the capacity of a pipe


class QueuedHandler(logging.Handler):
    """Queues formatted lines for a daemon thread, which writes them to a file descriptor.

    A full queue drops further lines; their number is logged once writing resumes. The thread writes to the
    descriptor itself, because a blocked ``sys.stderr`` would keep the interpreter from exiting. A line that
    is queued when the process is killed is lost.
    """

    def __init__(self, descriptor: int = 2, max_bytes: int = MAX_QUEUED_BYTES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Empty the queue: a forked process has no thread, and its parent writes the queued lines."""
        self._lines: deque[bytes] = deque()
        self._queued_bytes = 0
        self._dropped_lines = 0
        self._condition = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception as error:  # such as a wrong number of arguments; handleError() could block
            text = (
                f"{record.pathname}:{record.lineno}: a log record can't be formatted: {type(error).__name__}"
            )
        line = f"{text}\n".encode(errors="backslashreplace")
        with self._condition:
            if self._queued_bytes + len(line) > self._max_bytes:
                self._dropped_lines += 1
                return
            self._append(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_lines, name="log-output", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    @override
    def flush(self) -> None:
        """Wait until all lines are written, at most ``FLUSH_TIMEOUT_S``."""
        with self._condition:
            self._condition.wait_for(lambda: not self._queued_bytes, FLUSH_TIMEOUT_S)

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._queued_bytes += len(line)

    def _write_lines(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._lines)
                data = self._next_lines()
            self._write(data)
            with self._condition:
                self._queued_bytes -= len(data)
                if self._dropped_lines and self._queued_bytes <= self._max_bytes // 2:
                    self._append(self._dropped_line())
                self._condition.notify_all()

    def _next_lines(self) -> bytes:
        lines = [self._lines.popleft()]
        size = len(lines[0])
        while self._lines and size + len(self._lines[0]) <= _WRITE_BYTES:
            lines.append(self._lines.popleft())
            size += len(lines[-1])
        return b"".join(lines)

    def _dropped_line(self) -> bytes:
        number, self._dropped_lines = self._dropped_lines, 0
        record = logging.makeLogRecord(
            {
                "name": "cyllm.log",
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": "%d log lines were dropped: the log output was not read in time",
                "args": (number,),
            }
        )
        return f"{self.format(record)}\n".encode()

    def _write(self, data: bytes) -> None:
        """Write the data. Without a reader or with a full disk, it is discarded."""
        with suppress(OSError):
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:  # another process has made the shared pipe non-blocking
                    time.sleep(0.05)
