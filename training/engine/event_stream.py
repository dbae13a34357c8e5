"""Events of the trainer on its standard output, which carries nothing else."""

from __future__ import annotations

import os
import sys
from typing import Protocol

from training.engine.events import Failed, TrainerEvent, encode

STDOUT, STDERR = 1, 2


class EventStream(Protocol):
    """A receiver of events."""

    def send(self, event: TrainerEvent) -> None:
        """Send an event."""
        ...


class EventWriter:
    """Writes each event as one line, at once, to a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, event: TrainerEvent) -> None:
        """Write an event. Raises OSError if the reader is gone."""
        rest = encode(event)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


class FailureWriter(EventWriter):
    """Writes the failure of a process of a distributed run that reports nothing else."""

    def send(self, event: TrainerEvent) -> None:
        """Write a failure. Raises OSError if the reader is gone."""
        if isinstance(event, Failed):
            os.write(self._descriptor, b"\n" + encode(event))  # the first process may be in mid-line


def claim_stdout() -> int:
    """Return a descriptor of the standard output, which itself is redirected to the standard error.

    So no library can put text among the events, whether it prints from Python or from C.
    """
    sys.stdout.flush()
    descriptor = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    os.set_inheritable(descriptor, False)
    return descriptor
