"""The supervisor restarts and stops programs, and leaves none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.processes.supervisor import Program, ProgramFailedError, Supervisor, stop_orphans
from deploy.local.settings import ROOT

SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(60)"
WITH_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def messages() -> list[str]:
    """Messages of the supervisor."""
    return []


@pytest.fixture
def supervisor(tmp_path: Path, messages: list[str]) -> Iterator[Supervisor]:
    """A supervisor that stops its programs after the test."""
    instance = Supervisor(run_dir=tmp_path / "run", log_dir=tmp_path / "logs", say=messages.append)
    yield instance
    for name in instance.names:
        instance.stop(name)


def _program(code: str, **changes: object) -> Program:
    return Program(name="program", argv=[sys.executable, "-c", code], **changes)  # type: ignore[arg-type]


def _until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _start(supervisor: Supervisor, program: Program) -> str:
    supervisor.start(program)
    log = supervisor.log_path(program.name)
    supervisor.wait_until(program.name, lambda: log.read_text().endswith("\n"), timeout_s=10)
    return log.read_text().split("\n")[-2]


def test_a_dead_program_is_restarted_and_reported(supervisor: Supervisor, messages: list[str]) -> None:
    _start(supervisor, _program(SLEEPER))
    first = supervisor.pid("program")
    assert first is not None
    os.kill(first, signal.SIGKILL)

    def again() -> bool:
        supervisor.poll()
        return supervisor.pid("program") not in (None, first)

    _until(again)
    assert messages == ["program was terminated by SIGKILL; restarting in 1 s"]


def test_restarts_come_later_with_every_failure(supervisor: Supervisor, messages: list[str]) -> None:
    supervisor.start(_program("raise SystemExit(3)"))

    def failed_twice() -> bool:
        supervisor.poll()
        return len(messages) == 2

    _until(failed_twice)
    assert messages == [
        "program exited with status 3; restarting in 1 s",
        "program exited with status 3; restarting in 2 s",
    ]


def test_children_of_a_program_are_stopped_with_it(supervisor: Supervisor) -> None:
    child = int(_start(supervisor, _program(WITH_CHILD)))
    assert psutil.pid_exists(child)
    supervisor.stop("program")
    _until(lambda: _is_dead(child))


def test_a_program_that_ignores_its_signal_is_killed_after_the_timeout(supervisor: Supervisor) -> None:
    _start(supervisor, _program(STUBBORN, stop_timeout_s=0.5))
    pid = supervisor.pid("program")
    assert pid is not None
    started_at = time.monotonic()
    supervisor.stop("program")
    assert _is_dead(pid)
    assert 0.4 < time.monotonic() - started_at < 5


def test_a_program_that_exits_during_its_start_is_reported_with_its_log(supervisor: Supervisor) -> None:
    supervisor.start(_program("print('no such thing'); raise SystemExit(4)"))
    with pytest.raises(ProgramFailedError, match=r"(?s)program exited with status 4.*no such thing"):
        supervisor.wait_until("program", lambda: False, timeout_s=10)


LAUNCHER = """
import sys, time
from pathlib import Path
from deploy.local.processes.supervisor import Program, Supervisor
supervisor = Supervisor(run_dir=Path(sys.argv[1]) / "run", log_dir=Path(sys.argv[1]), say=print)
supervisor.start(Program(name="sleeper", argv=[sys.executable, "-c", sys.argv[2]]))
print(supervisor.pid("sleeper"), flush=True)
time.sleep(60)
"""


def _kill_launcher(folder: Path, code: str) -> int:
    """Kill a launcher with SIGKILL; return the process id of its program."""
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder), code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        _until(lambda: "up" in (folder / "sleeper.log").read_text())
        launcher.kill()
    return pid


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")
def test_programs_stop_when_their_launcher_is_killed(tmp_path: Path) -> None:
    pid = _kill_launcher(tmp_path, SLEEPER)
    _until(lambda: _is_dead(pid))


def test_an_orphaned_program_is_stopped(tmp_path: Path) -> None:
    pid = _kill_launcher(tmp_path, STUBBORN)
    assert not _is_dead(pid)
    started_at = time.monotonic()
    assert stop_orphans(tmp_path / "run", timeout_s=0.5) == ["sleeper"]
    assert time.monotonic() - started_at < 5
    _until(lambda: _is_dead(pid))
    assert stop_orphans(tmp_path / "run") == []


def test_a_process_that_reuses_a_recorded_id_keeps_running(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL) as other:
        (tmp_path / "worker.json").write_text(f'{{"pid": {other.pid}, "started": 12345.0}}')
        (tmp_path / "broken.json").write_text("{")
        assert stop_orphans(tmp_path) == []
        assert other.poll() is None
        other.kill()
    assert list(tmp_path.iterdir()) == []


def test_the_previous_log_is_kept(supervisor: Supervisor) -> None:
    _start(supervisor, _program(SLEEPER))
    supervisor.stop("program")
    _start(supervisor, _program("import time\nprint('second', flush=True)\ntime.sleep(60)"))
    log = supervisor.log_path("program")
    assert log.read_text() == "second\n"
    assert log.with_name("program.log.1").read_text() == "up\n"
