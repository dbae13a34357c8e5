"""Faults of a trial: processes of the stack are killed, or stopped for a while."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.stacks import RunningStack

PROGRAMS = ("gateway", "worker", "celery", "beat", "valkey", "postgres")
PAUSE_S = 6.0  # longer than a peer may be silent


@dataclass
class Kills:
    """A thread that spreads faults evenly over a trial; each program is hit in turn, in random order."""

    stack: RunningStack
    seed: int
    seconds: float
    count: int
    programs: Sequence[str] = PROGRAMS
    log: list[str] = field(default_factory=list)

    def start(self) -> threading.Thread:
        """Start the faults."""
        thread = threading.Thread(target=self._run, name="kills")
        thread.start()
        return thread

    def _run(self) -> None:
        choose = random.Random(self.seed)
        start = time.monotonic()
        names = [name for _ in range(self.count) for name in choose.sample(self.programs, len(self.programs))]
        for number, name in enumerate(names[: self.count]):
            time.sleep(max(0.0, start + (number + 0.5) * self.seconds / self.count - time.monotonic()))
            at_s, is_pause = time.monotonic() - start, choose.random() < 0.25
            self.log.append(f"{at_s:6.1f} s  {name} {self._hit(name, is_pause)}")

    def _hit(self, name: str, is_pause: bool) -> str:
        """Kill or pause a program. Returns what was done to it, for the log."""
        try:
            pid = self.stack.pid(name)
            if not is_pause:
                os.kill(pid, signal.SIGKILL)
                return "killed"
            os.kill(pid, signal.SIGSTOP)
            time.sleep(PAUSE_S)
            os.kill(pid, signal.SIGCONT)
        except (ProcessLookupError, FileNotFoundError):
            return "was not running"
        return "paused"
