"""The launcher's lock: one holder, released when the holder is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.processes.lock import AlreadyRunningError, Lock, lock_holder
from deploy.local.settings import ROOT
from deploy.local.stop import stop_stack

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


def test_a_second_holder_is_rejected_with_the_process_id_of_the_first(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with Lock(lock), pytest.raises(AlreadyRunningError) as failure, Lock(lock):
        pass
    assert failure.value.pid == os.getpid()
    assert lock_holder(lock) is None


def test_a_killed_process_releases_its_lock_at_once(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with _holder(lock) as holder:
        assert lock_holder(lock) == holder.pid
        holder.kill()
    assert lock_holder(lock) is None
    with Lock(lock):
        assert lock.read_text() == f"{os.getpid()}\n"


def test_stop_sends_sigterm_to_the_holder_and_waits(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with _holder(lock) as holder:
        assert stop_stack(lock, timeout_s=10) is True
    assert holder.returncode == -signal.SIGTERM
    assert stop_stack(lock) is True
