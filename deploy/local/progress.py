"""Numbered, timed stages on the launcher's terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

CLEAR_LINE = "\r\x1b[2K"


class Stage:
    """A running stage. Its last line shows ``result`` and the elapsed time."""

    def __init__(self, terminal: Terminal, head: str) -> None:
        self._terminal = terminal
        self._head = head
        self._started_at = time.monotonic()
        self._last_note = ""
        self.result = "done"

    def note(self, text: str) -> None:
        """Show the current activity; a terminal rewrites its line."""
        self._terminal.show(f"{self._head} … {text}, {self.elapsed_s:.0f} s", new=text != self._last_note)
        self._last_note = text

    @property
    def elapsed_s(self) -> float:
        """Seconds since the stage started."""
        return time.monotonic() - self._started_at


class Terminal:
    """Prints numbered stages. Lines are rewritten on a terminal only, never in a file or pipe."""

    def __init__(self, total: int, out: TextIO | None = None) -> None:
        self._total = total
        self._number = 0
        self._out = out or sys.stdout
        self._is_interactive = self._out.isatty()

    @contextmanager
    def stage(self, title: str) -> Iterator[Stage]:
        """Run a stage, then print its result and duration."""
        self._number += 1
        head = f"[{self._number:>2}/{self._total}] {title}"
        if self._is_interactive:
            self.show(f"{head} …", new=False)
        stage = Stage(self, head)
        try:
            yield stage
        except BaseException:
            self.say(f"{head} … failed after {stage.elapsed_s:.1f} s")
            raise
        self.say(f"{head} … {stage.result} in {stage.elapsed_s:.1f} s")

    def say(self, text: str = "") -> None:
        """Print a permanent line."""
        self._out.write(f"{CLEAR_LINE if self._is_interactive else ''}{text}\n")
        self._out.flush()

    def show(self, text: str, *, new: bool) -> None:
        """Print a line that the next one replaces; elsewhere than on a terminal, only if ``new``."""
        if self._is_interactive:
            self._out.write(f"{CLEAR_LINE}{text}")
            self._out.flush()
        elif new:
            self.say(text)
