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

from deploy.local.processes.log_writer import RotatedLog
from deploy.local.processes.program_log import LogLimits
from deploy.local.processes.supervisor import Program, ProgramFailedError, Supervisor, stop_orphans
from deploy.local.settings import ROOT
from tests.patience import PATIENCE_S
from tests.processes import is_dead

SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(600)"
WITH_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
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


def _until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _start(supervisor: Supervisor, program: Program) -> str:
    supervisor.start(program)
    log = supervisor.log_path(program.name)
    supervisor.wait_until(
        program.name, lambda: log.exists() and log.read_text().endswith("\n"), timeout_s=PATIENCE_S
    )
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
    _until(lambda: is_dead(child))


def test_a_program_that_ignores_its_signal_is_killed_after_the_timeout(supervisor: Supervisor) -> None:
    _start(supervisor, _program(STUBBORN, stop_timeout_s=0.5))
    pid = supervisor.pid("program")
    assert pid is not None
    started_at = time.monotonic()
    supervisor.stop("program")
    assert is_dead(pid)
    assert 0.4 < time.monotonic() - started_at < 5


def test_a_program_that_exits_during_its_start_is_reported_with_its_log(supervisor: Supervisor) -> None:
    supervisor.start(_program("print('no such thing'); raise SystemExit(4)"))
    with pytest.raises(ProgramFailedError, match=r"(?s)program exited with status 4.*no such thing"):
        supervisor.wait_until("program", lambda: False, timeout_s=10)


LAUNCHER = """
import sys, time
from pathlib import Path
from deploy.local.processes.program_log import LogLimits
from deploy.local.processes.supervisor import Program, Supervisor
supervisor = Supervisor(run_dir=Path(sys.argv[1]) / "run", log_dir=Path(sys.argv[1]), say=print)
supervisor.start(Program(name="sleeper", argv=[sys.executable, "-c", sys.argv[2]]))
print(supervisor.pid("sleeper"), flush=True)
time.sleep(600)
"""


def _kill_launcher(folder: Path, code: str) -> int:
    """Kill a launcher with SIGKILL; return the process id of its program."""
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder), code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        _until(lambda: "up" in _text(folder / "sleeper.log"))
        launcher.kill()
    return pid


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")
def test_programs_stop_when_their_launcher_is_killed(tmp_path: Path) -> None:
    pid = _kill_launcher(tmp_path, SLEEPER)
    _until(lambda: is_dead(pid))


def test_an_orphaned_program_is_stopped(tmp_path: Path) -> None:
    pid = _kill_launcher(tmp_path, STUBBORN)
    assert not is_dead(pid)
    started_at = time.monotonic()
    assert stop_orphans(tmp_path / "run", timeout_s=0.5) == ["sleeper"]
    assert time.monotonic() - started_at < 5
    _until(lambda: is_dead(pid))
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
    _start(supervisor, _program("import time\nprint('second', flush=True)\ntime.sleep(600)"))
    log = supervisor.log_path("program")
    assert log.read_text() == "second\n"
    assert log.with_name("program.log.1").read_text() == "up\n"


@pytest.mark.case("robustness.9")
def test_a_log_that_cannot_be_opened_costs_output_and_no_restart(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    _start(supervisor, _program(SLEEPER))
    log, first = supervisor.log_path("program"), supervisor.pid("program")
    assert first is not None
    log.unlink()
    log.mkdir()  # as root, permissions do not stop anybody
    os.kill(first, signal.SIGKILL)

    def again() -> bool:
        supervisor.poll()
        return supervisor.pid("program") not in (None, first)

    _until(again)
    time.sleep(0.5)  # the second line of output is discarded meanwhile
    log.rmdir()
    second = supervisor.pid("program")
    assert second is not None
    os.kill(second, signal.SIGKILL)

    def logged() -> bool:
        supervisor.poll()
        return log.is_file()

    _until(logged)
    note, line = log.read_text().splitlines()
    assert note == "3 bytes of output were discarded: the log could not be written"
    assert line == "up"


def _ends_with(log: Path, text: str) -> bool:
    try:
        return log.read_text().endswith(text)
    except FileNotFoundError:  # not written yet, or being rotated
        return False


@pytest.mark.case("robustness.11")
def test_a_log_is_rotated_by_size_and_loses_no_line(tmp_path: Path) -> None:
    limits = LogLimits(max_bytes=40_000, keep=3)
    writer = Supervisor(run_dir=tmp_path, log_dir=tmp_path / "logs", say=print, log_limits=limits)
    code = "import time\nfor n in range(20_000): print(f'{n:06}')\nprint('end', flush=True)\ntime.sleep(600)"
    writer.start(_program(code))
    log = writer.log_path("program")
    _until(lambda: _ends_with(log, "end\n"))
    writer.stop("program")
    files = [
        log.with_name("program.log.3"),
        log.with_name("program.log.2"),
        log.with_name("program.log.1"),
        log,
    ]
    assert sorted(log.parent.iterdir()) == sorted(files)
    assert all(file.stat().st_size <= limits.max_bytes for file in files)
    assert all(oct(file.stat().st_mode & 0o777) == "0o600" for file in files)
    lines = "".join(file.read_text() for file in files).splitlines()
    assert lines == [*[f"{n:06}" for n in range(20_000)][1 - len(lines) :], "end"]


@pytest.mark.case("robustness.11")
def test_a_log_stays_within_its_size_however_much_arrives_at_once(tmp_path: Path) -> None:
    log = RotatedLog(tmp_path / "log", max_bytes=10_000, keep=9)
    log.write(b"".join(b"%06d\n" % n for n in range(5000)))
    log.write(b"x" * 25_000)
    files = [tmp_path / "log", *(tmp_path / f"log.{n}" for n in range(1, 7))]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    contents = [file.read_bytes() for file in reversed(files)]
    assert max(map(len, contents)) <= 10_000
    assert [content[:7] for content in contents[:4]] == [b"%06d\n" % n for n in range(0, 5000, 1428)]
    assert b"".join(contents) == b"".join(b"%06d\n" % n for n in range(5000)) + b"x" * 25_000


@pytest.mark.case("robustness.11")
def test_a_killed_writer_of_a_log_is_started_again_without_loss(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    begin, end = tmp_path / "begin", tmp_path / "end"
    # Nothing is printed before the writer has stopped: what it has read and not written would be lost.
    code = f"""
import time
from pathlib import Path
print(0, flush=True)
while not Path({str(begin)!r}).exists(): time.sleep(0.01)
for n in range(1, 100): print(n, flush=True)
Path({str(end)!r}).touch()
time.sleep(600)
"""
    _start(supervisor, _program(code))
    process = supervisor._processes["program"]
    process.log._writer.send_signal(signal.SIGSTOP)
    begin.touch()
    _until(end.exists)
    process.log._writer.kill()
    process.log._writer.wait()
    supervisor.poll()
    log = supervisor.log_path("program")
    _until(lambda: log.read_text().endswith("99\n"))
    assert log.read_text().splitlines() == [str(n) for n in range(100)]


@pytest.mark.case("robustness.9")
def test_a_process_that_cannot_be_created_is_tried_again(
    supervisor: Supervisor, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _start(supervisor, _program(SLEEPER))
    first = supervisor.pid("program")
    assert first is not None
    monkeypatch.setattr(sys, "executable", "/missing/python")
    os.kill(first, signal.SIGKILL)

    def failed() -> bool:
        supervisor.poll()
        return len(messages) == 2

    _until(failed)
    assert "program can't be started: [Errno 2] No such file or directory" in messages[1]
    with pytest.raises(ProgramFailedError, match="other can't be started"):
        supervisor.start(Program(name="other", argv=["true"]))


@pytest.mark.case("robustness.9")
def test_a_process_id_that_cannot_be_recorded_does_not_stop_the_program(
    supervisor: Supervisor, messages: list[str], tmp_path: Path
) -> None:
    (tmp_path / "run").rmdir()
    (tmp_path / "run").write_text("")  # no file can be created below it
    _start(supervisor, _program(SLEEPER))
    assert supervisor.pid("program") is not None
    assert len(messages) == 1
    assert messages[0].startswith("program runs, but its process id can't be recorded: ")


@pytest.mark.case("robustness.11")
def test_logs_and_process_ids_are_private(supervisor: Supervisor, tmp_path: Path) -> None:
    _start(supervisor, _program(SLEEPER))
    log = supervisor.log_path("program")
    paths = (log, log.parent, tmp_path / "run", tmp_path / "run" / "program.json")
    assert [oct(path.stat().st_mode & 0o777) for path in paths] == ["0o600", "0o700", "0o700", "0o600"]
