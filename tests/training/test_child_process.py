"""Child processes of training workers: signals, priority, and the requests of their caller."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.patience import PATIENCE_S
from training import child_process
from training.child_process import NICENESS, run_child
from training.supervisor.attempt import InterruptedAttemptError

AUTOGROUP = Path("/proc/self/autogroup")


@pytest.mark.criterion("2.3")
def test_a_signal_that_stops_the_caller_together_with_its_child_stops_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child_process, "POLL_S", PATIENCE_S)  # so the child ends before the first check
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"]

    with pytest.raises(InterruptedAttemptError):
        run_child(command, environment={}, check=Mock(side_effect=InterruptedAttemptError))


def test_a_key_that_interrupts_the_worker_does_not_reach_its_children() -> None:
    """A terminal sends SIGINT to a process group."""
    command = [sys.executable, "-c", "import os; print(os.getpgrp() == os.getpid())"]

    assert run_child(command, environment={}).output == b"True\n"


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="Linux does not schedule sessions as groups here")
def test_a_child_is_nice_to_the_processes_of_other_sessions_too() -> None:
    """Sessions get equal shares of the processors, however nice the processes inside of them are."""
    waiting = f"""
import time
while not open("{AUTOGROUP}").read().endswith("nice {NICENESS}\\n"):
    time.sleep(0.01)
"""
    assert run_child([sys.executable, "-c", waiting], environment={}, timeout_s=PATIENCE_S).code == 0
