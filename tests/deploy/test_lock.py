"""The lock of a checkout: one holder, and none after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.processes.lock import AlreadyRunningError, Lock, lock_holder
from deploy.local.settings import ROOT
from deploy.local.stop import stack_stop

HOLD = """
import sys, time
from pathlib import Path
from deploy.local.processes.lock import Lock
with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def _holder(lock: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with Lock(lock), pytest.raises(AlreadyRunningError) as refused, Lock(lock):
        pass
    assert refused.value.pid == os.getpid()
    assert lock_holder(lock) is None


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with _holder(lock) as holder:
        assert lock_holder(lock) == holder.pid
        holder.kill()
    assert lock_holder(lock) is None
    with Lock(lock):
        assert lock.read_text() == f"{os.getpid()}\n"


def test_stop_ends_the_holder_by_sigterm_and_waits_for_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with _holder(lock) as holder:
        assert stack_stop(lock, timeout_s=10) is True
    assert holder.returncode == -signal.SIGTERM
    assert stack_stop(lock) is True
