"""The trainer as a child process: its events, control messages, and the end of its whole process group."""

from __future__ import annotations

import logging
import os
import queue
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from inference_worker.telemetry.masking import mask_secrets
from training.child_process import limit_child
from training.engine.events import ControlMessage, TrainerEvent, decode_event, encode

logger = logging.getLogger("cyllm.training.trainer")

MAX_LINE_BYTES = 1 << 20
MAX_BUFFERED_EVENTS = 10_000
MAX_BATCH = 100
STDERR_LINES, STDERR_LINE_CHARS = 50, 500
JUNK_LOG_CHARS, JUNK_LOG_LINES = 200, 20
READ_BYTES = 1 << 16
PIPE_BYTES = 1 << 20  # the largest pipe of an account without privileges
EOF_WAIT_S = 2.0
# How torchrun logs the first process that failed, long before its report of all of them.
_RANK_FAILURE = re.compile(r"failed \(exitcode: (?P<code>-?\d+)\) local_rank: \d+")


class TrainerProcess:
    """A running trainer in a session of its own, which also holds its helper processes.

    ``rank_exit_code``: that of the first process that failed, if torchrun runs several.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, inherited_fd: int) -> None:
        self._process = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=[inherited_fd],
        )
        os.set_blocking(_stream(self._process.stdin).fileno(), False)
        limit_child(self._process.pid)
        self._events: queue.Queue[TrainerEvent] = queue.Queue(MAX_BUFFERED_EVENTS)
        self._input_lock = threading.Lock()
        self._kill_lock = threading.Lock()
        self._close_event = threading.Event()
        self._junk_lines = 0
        self.stderr_tail: deque[str] = deque(maxlen=STDERR_LINES)
        self.rank_exit_code: int | None = None
        self._reader = self._thread(self._read_events)
        self._stderr_reader = self._thread(self._read_stderr)

    @property
    def pid(self) -> int:
        """The process id, which is also that of the process group."""
        return self._process.pid

    def next_events(self, timeout_s: float) -> list[TrainerEvent]:
        """Return the events that have arrived, up to ``MAX_BATCH``; wait for the first one."""
        events: list[TrainerEvent] = []
        with suppress(queue.Empty):
            events.append(self._events.get(timeout=timeout_s))
            while len(events) < MAX_BATCH:
                events.append(self._events.get_nowait())
        return events

    def has_ended(self) -> bool:
        """Return whether the process has ended and all its events were taken."""
        if self.exit_code() is None:
            return False
        # Helpers that survive it hold the pipe open: those of its group end here, others are not waited for.
        self.kill()
        self._reader.join(EOF_WAIT_S)
        return self._events.empty()

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, None while it runs.

        The process is not reaped before ``close``, so that its id can't belong to another process group yet.
        """
        if self._process.returncode is not None:
            return self._process.returncode
        state = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if state is None:
            return None
        return state.si_status if state.si_code == os.CLD_EXITED else -state.si_status

    def send(self, message: ControlMessage) -> None:
        """Send a control message; without effect if the trainer has ended, or has not read many of them."""
        with self._input_lock, suppress(OSError, ValueError):
            # At once or not at all: it is shorter than PIPE_BUF, and the pipe does not block.
            os.write(_stream(self._process.stdin).fileno(), encode(message))

    def kill(self) -> None:
        """Kill the whole process group at once. Callable from any thread."""
        with self._kill_lock, suppress(ProcessLookupError, PermissionError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill what is left of the process group, then reap the process and end the reading threads."""
        self.kill()
        # The group's other processes are not ours to reap; SIGKILL ends them.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        with self._kill_lock:
            self._process.wait()
        self._close_event.set()
        for thread in (self._reader, self._stderr_reader):
            thread.join(EOF_WAIT_S)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(OSError):
                _stream(stream).close()

    def _thread(self, target: Any) -> threading.Thread:
        thread = threading.Thread(target=target, name=target.__name__, daemon=True)
        thread.start()
        return thread

    def _read_events(self) -> None:
        try:
            self._queue_events()
        except BaseException:
            logger.exception("reading the trainer's events failed")
            self.kill()  # its pipe is no longer read, so it would wait forever
            raise

    def _queue_events(self) -> None:
        for line in self._lines(self._process.stdout):
            try:
                event = decode_event(line)
            except msgspec.DecodeError:
                self._log_junk(line)
                continue
            while not self._close_event.is_set():
                with suppress(queue.Full):
                    self._events.put(event, timeout=0.5)
                    break

    def _log_junk(self, line: bytes) -> None:
        self._junk_lines += 1
        if self._junk_lines <= JUNK_LOG_LINES:
            logger.warning("not an event: %s", line[:JUNK_LOG_CHARS].decode(errors="replace"))
        elif self._junk_lines == JUNK_LOG_LINES + 1:
            logger.warning("further lines that are no events are not logged")

    def _read_stderr(self) -> None:
        for line in self._lines(self._process.stderr):
            text = _stderr_text(line)
            self.stderr_tail.append(text)
            if self.rank_exit_code is None and (failure := _RANK_FAILURE.search(text)):
                self.rank_exit_code = int(failure["code"])
            logger.debug("%s", text)

    def _lines(self, stream: IO[bytes] | None) -> Iterator[bytes]:
        return _split(self._pieces(_stream(stream)), MAX_LINE_BYTES)

    def _pieces(self, stream: IO[bytes]) -> Iterator[bytes]:
        """Yield data from a pipe; once the process has ended, at most what the pipe can hold.

        A helper that outlives the process may keep the pipe open and write to it for ever.
        """
        left_bytes = PIPE_BYTES
        while left_bytes > 0:
            try:
                data = os.read(stream.fileno(), READ_BYTES)
            except (OSError, ValueError):  # closed by close()
                return
            if not data:
                return
            yield data
            if self._is_over():
                left_bytes -= len(data)

    def _is_over(self) -> bool:
        try:
            return self.exit_code() is not None
        except ChildProcessError:  # reaped in between
            return True


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "all three streams are pipes"  # noqa: S101
    return stream


def _stderr_text(line: bytes) -> str:
    """Return the beginning of a line; of a progress bar, which overwrites its line, that of its last state.

    Secrets are masked before the line is cut, as the rest of one may not be recognised.
    """
    state = line.rstrip().rpartition(b"\r")[2]
    text = state[: 8 * STDERR_LINE_CHARS].decode(errors="replace")
    return mask_secrets(text)[:STDERR_LINE_CHARS]


def _split(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield the lines of a stream without blank ones; a longer one than ``limit`` bytes is cut."""
    rest, is_discarding = b"", False
    for data in pieces:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.strip() and not is_discarding:
                yield line
            is_discarding = False
        if len(rest) > limit:
            if not is_discarding:
                yield rest[:limit]
            rest, is_discarding = b"", True
    if rest.strip() and not is_discarding:
        yield rest
