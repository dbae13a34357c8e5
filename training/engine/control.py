"""Control messages on the standard input, and the lease that ends a trainer nobody renews."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import NoReturn, Protocol

import msgspec

from training.engine.events import Renew, Stop, decode_control
from training.engine.exit_codes import EXIT_LEASE_LOST

logger = logging.getLogger(__name__)

LARGEST_MESSAGE = 65_536
# Unlike the monotonic clock it runs on while the machine sleeps, as the lease does.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class StopRequestedError(Exception):
    """A control message asks the trainer to end."""


class Control(Protocol):
    """Requests to a run."""

    @property
    def stop(self) -> Stop | None:
        """The request to stop, if there is one."""
        ...

    def check_lease(self) -> None:
        """End the process at once if the lease has expired."""
        ...

    def check_stop(self) -> None:
        """Raise StopRequestedError if there is a request to stop."""
        ...


class ManualControl:
    """A control without a lease. Requests come from its owner, not from a parent process."""

    def __init__(self) -> None:
        self.stop: Stop | None = None

    def request_stop(self, stop: Stop) -> None:
        """Ask the run to stop. A request that saves is never replaced."""
        if self.stop is None or stop.is_saved:
            self.stop = stop

    def check_lease(self) -> None:
        """Do nothing: this run has no lease."""

    def check_stop(self) -> None:
        """Raise StopRequestedError if there is a request to stop."""
        if self.stop is not None:
            raise StopRequestedError


class InputControl(ManualControl):
    """Reads control messages from a file descriptor in a thread. ``lease_s``: 0 turns the lease off."""

    def __init__(self, lease_s: float, descriptor: int = 0) -> None:
        super().__init__()
        self._lease_s = lease_s
        self._descriptor = descriptor
        self._renewed_at = now()

    def start(self) -> None:
        """Start the threads. SIGTERM becomes a request to save and stop. Call from the main thread."""
        self._renewed_at = now()
        signal.signal(signal.SIGTERM, self._on_terminate)
        threading.Thread(target=self._read, name="control", daemon=True).start()
        if self._lease_s:
            threading.Thread(target=self._watch, name="lease", daemon=True).start()

    def check_lease(self) -> None:
        """End the process at once if the lease has expired."""
        if self._lease_s and now() - self._renewed_at > self._lease_s:
            _exit_unleased(f"no message for {self._lease_s:g} s")

    def _on_terminate(self, _signal: int, _frame: FrameType | None) -> None:
        self.request_stop(Stop(is_saved=True))

    def _watch(self) -> None:
        while True:
            time.sleep(max(0.05, min(1.0, self._lease_s / 10)))
            self.check_lease()

    def _read(self) -> None:
        rest = b""
        while chunk := os.read(self._descriptor, LARGEST_MESSAGE):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._receive(line)
            if len(rest) > LARGEST_MESSAGE:
                rest = b""
        if self._lease_s:
            _exit_unleased("the standard input has ended")

    def _receive(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = decode_control(line)
        except msgspec.DecodeError as error:
            logger.warning("a control message was ignored: %s", error)
            return
        self._renewed_at = now()
        if not isinstance(message, Renew):
            self.request_stop(message)


def now() -> float:
    """Return the seconds of a clock that never goes back."""
    return time.clock_gettime(_CLOCK)


def _exit_unleased(reason: str) -> NoReturn:
    # Another attempt may already run, so nothing more may be written, not even a clean exit's files.
    with suppress(OSError):  # the reader may be gone, or frozen with a full pipe
        descriptor = sys.stderr.fileno()
        if select.select([], [descriptor], [], 0)[1]:
            os.write(descriptor, f"the lease has expired: {reason}\n".encode())
    os._exit(EXIT_LEASE_LOST)
