"""What the launcher says on the terminal: numbered stages with times, for people and for logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

CLEAR_LINE = "\r\x1b[2K"


class Stage:
    """One stage while it runs. ``result`` is what is said at its end."""

    def __init__(self, terminal: Stages, head: str) -> None:
        self._terminal = terminal
        self._head = head
        self._began = time.monotonic()
        self._noted = ""
        self.result = "done"

    def note(self, text: str) -> None:
        """Say what is being done now; on a terminal the line is rewritten."""
        self._terminal.show(f"{self._head} … {text}, {self.elapsed_s:.0f} s", new=text != self._noted)
        self._noted = text

    @property
    def elapsed_s(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self._began


class Stages:
    """Numbers the stages. On anything but a terminal each line is final."""

    def __init__(self, total: int, out: TextIO | None = None) -> None:
        self._total = total
        self._number = 0
        self._out = out or sys.stdout
        self._live = self._out.isatty()

    @contextmanager
    def stage(self, title: str) -> Iterator[Stage]:
        """Run one stage; says how it ended and how long it took."""
        self._number += 1
        head = f"[{self._number:>2}/{self._total}] {title}"
        if self._live:
            self.show(f"{head} …", new=False)
        stage = Stage(self, head)
        try:
            yield stage
        except BaseException:
            self.say(f"{head} … not finished after {stage.elapsed_s:.1f} s")
            raise
        self.say(f"{head} … {stage.result} in {stage.elapsed_s:.1f} s")

    def say(self, text: str = "") -> None:
        """A line that stays."""
        self._out.write(f"{CLEAR_LINE if self._live else ''}{text}\n")
        self._out.flush()

    def show(self, text: str, *, new: bool) -> None:
        """A line that the next one replaces; where that can't be, only what is new is written."""
        if self._live:
            self._out.write(f"{CLEAR_LINE}{text}")
            self._out.flush()
        elif new:
            self.say(text)
