"""Starts the stack's processes, restarts what dies, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PARENT_DEATH = Path(__file__).with_name("parent_death.py")
STEADY_S = 60.0  # a process that lived this long starts its backoff anew
BACKOFF_MAX_S = 30.0
POLL_S = 0.05
ORPHAN_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run and how to end it. ``user``: numeric user and group to run as, default the own."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    user: tuple[int, int] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    stop_timeout_s: float = 20.0


@dataclass(slots=True)
class _Running:
    program: Program
    popen: subprocess.Popen[bytes]
    started_at: float
    failures: int = 0
    restart_at: float | None = None


def bound_to_parent(
    argv: Sequence[str], *, end: signal.Signals = signal.SIGTERM, user: tuple[int, int] | None = None
) -> list[str]:
    """The command line that runs ``argv`` so that it gets the signal ``end`` when this process dies."""
    uid, gid = user or (-1, -1)
    # parent_death.py drops the privileges itself: the other user may not be able to read Python
    leash = (sys.executable, "-I", "-S", str(PARENT_DEATH))
    return [*leash, str(int(end)), str(os.getpid()), str(uid), str(gid), "--", *argv]


class ProgramFailedError(Exception):
    """A program ended while its start was awaited; the text names its log."""


def _started(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def _signal_group(pid: int, signal_number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal_number)


def _describe(returncode: int) -> str:
    if returncode < 0:
        return f"ended by {signal.Signals(-returncode).name}"
    return f"exited with {returncode}"


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_process(pid: int, *, first: signal.Signals, last: signal.Signals, timeout_s: float) -> None:
    """End a process by ``first``, after the time by ``last``; then whatever is left of its group.

    ``first`` goes to the process alone: an engine or a pool that drains still needs its children.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, first)
    deadline = time.monotonic() + timeout_s
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if _alive(pid):
        _signal_group(pid, last)
        time.sleep(POLL_S)
    _signal_group(pid, signal.SIGKILL)


class Supervisor:
    """Owns the processes of one stack. ``poll`` must be called again and again from one thread."""

    def __init__(self, *, run_dir: Path, log_dir: Path, say: Callable[[str], None]) -> None:
        self._run_dir = run_dir
        self._log_dir = log_dir
        self._say = say
        self._running: dict[str, _Running] = {}
        run_dir.mkdir(parents=True, exist_ok=True)
        log_dir.mkdir(parents=True, exist_ok=True)

    def log_path(self, name: str) -> Path:
        """Where the program's output goes."""
        return self._log_dir / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """The program's process id while it runs."""
        running = self._running.get(name)
        return running.popen.pid if running and running.popen.poll() is None else None

    def start(self, program: Program) -> None:
        """Start the program in a session of its own, bound to this process."""
        log = self.log_path(program.name)
        if log.exists():
            log.replace(log.with_name(f"{log.name}.1"))
        running = _Running(program, self._spawn(program), time.monotonic())
        self._running[program.name] = running
        self._record(program.name, running.popen.pid)

    def poll(self) -> None:
        """Restart what has died, later with every failure in a row."""
        now = time.monotonic()
        for running in self._running.values():
            if running.restart_at is None and running.popen.poll() is not None:
                self._plan_restart(running, now)
            if running.restart_at is not None and now >= running.restart_at:
                running.popen = self._spawn(running.program)
                running.started_at, running.restart_at = now, None
                self._record(running.program.name, running.popen.pid)

    def wait_until(self, name: str, ready: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait for the program to be ready. Raises ProgramFailedError with the end of its log."""
        deadline = time.monotonic() + timeout_s
        running = self._running[name]
        while not ready():
            if running.popen.poll() is not None:
                raise ProgramFailedError(self._failure(name, _describe(running.popen.returncode)))
            if time.monotonic() > deadline:
                raise ProgramFailedError(self._failure(name, f"was not ready after {timeout_s:.0f} s"))
            time.sleep(POLL_S)

    def stop(self, name: str) -> None:
        """End the program and its group, in its own way first."""
        running = self._running.get(name)
        if running is None:
            return
        program = running.program
        # It stays on the list until it has ended: kill_all may have to end it meanwhile.
        end_process(
            running.popen.pid,
            first=program.stop_signal,
            last=program.kill_signal,
            timeout_s=program.stop_timeout_s,
        )
        running.popen.wait()
        del self._running[name]
        self._record_path(name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """The programs in the order in which they were started."""
        return list(self._running)

    def kill_all(self) -> None:
        """End everything at once."""
        for running in self._running.values():
            _signal_group(running.popen.pid, running.program.kill_signal)

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with self.log_path(program.name).open("ab") as log:
            return subprocess.Popen(
                bound_to_parent(program.argv, end=program.stop_signal, user=program.user),
                env=dict(program.env) if program.env else None,
                cwd=program.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _plan_restart(self, running: _Running, now: float) -> None:
        steady = now - running.started_at > STEADY_S
        running.failures = 1 if steady else running.failures + 1
        delay_s = min(BACKOFF_MAX_S, 0.5 * 2**running.failures)
        running.restart_at = now + delay_s
        # what its group left behind would hold its port or its memory
        _signal_group(running.popen.pid, signal.SIGKILL)
        how = _describe(running.popen.returncode)
        self._say(f"{running.program.name} {how}; starting it again in {delay_s:.0f} s")

    def failure(self, name: str) -> str:
        """How a program ended, and the end of its log."""
        code = self._running[name].popen.poll()
        return self._failure(name, "is not running" if code is None else _describe(code))

    def _failure(self, name: str, how: str) -> str:
        lines = self.log_path(name).read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(f"    {line}" for line in lines[-15:])
        return f"{name} {how}. The end of {self.log_path(name)}:\n{tail}"

    def _record_path(self, name: str) -> Path:
        return self._run_dir / f"{name}.json"

    def _record(self, name: str, pid: int) -> None:
        record = {"pid": pid, "started": _started(pid)}
        self._record_path(name).write_text(json.dumps(record), encoding="utf-8")


def end_orphans(run_dir: Path, *, timeout_s: float = ORPHAN_TIMEOUT_S) -> list[str]:
    """End what a killed launcher left running; returns the names.

    A process is ours only if its id *and* its start time are those that were recorded: process ids
    are used again.
    """
    ended = []
    for path in sorted(run_dir.glob("*.json")):
        with suppress(ValueError, KeyError, TypeError):
            record = json.loads(path.read_text(encoding="utf-8"))
            pid, started = int(record["pid"]), float(record["started"])
            if _started(pid) == started:
                end_process(pid, first=signal.SIGTERM, last=signal.SIGKILL, timeout_s=timeout_s)
                ended.append(path.stem)
        path.unlink(missing_ok=True)
    return ended
