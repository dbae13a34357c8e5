"""Starts, restarts and stops the processes of the stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.local.files import write_private
from deploy.local.processes.program_log import LogLimits, ProgramLog
from inference_worker.runtime.parent_death import parent_bound_command

STABLE_S = 60.0  # a process that ran this long resets its backoff
BACKOFF_MAX_S = 30.0
POLL_S = 0.05
ORPHAN_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program and the signals that stop it. ``user``: numeric uid and gid, by default the launcher's."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    user: tuple[int, int] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    stop_timeout_s: float = 20.0


@dataclass(slots=True)
class _Process:
    program: Program
    log: ProgramLog
    popen: subprocess.Popen[bytes]  # the last one that could be started
    started_at: float
    failures: int = 0
    restart_at: float | None = None


class ProgramFailedError(Exception):
    """A program exited or was not ready in time; the text ends with its log."""


class Supervisor:
    """Owns the processes of one stack. Call ``poll`` regularly from one thread."""

    def __init__(
        self, *, run_dir: Path, log_dir: Path, say: Callable[[str], None], log_limits: LogLimits | None = None
    ) -> None:
        self._run_dir = run_dir
        self._log_dir = log_dir
        self._log_limits = log_limits or LogLimits()
        self._say = say
        self._processes: dict[str, _Process] = {}
        for folder in (run_dir, log_dir):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    @property
    def names(self) -> list[str]:
        """Names of the programs, in the order of their start."""
        return list(self._processes)

    def log_path(self, name: str) -> Path:
        """Return the file that receives the program's output."""
        return self._log_dir / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """Return the program's process id, or None if it is not running."""
        process = self._processes.get(name)
        return process.popen.pid if process and process.popen.poll() is None else None

    def start(self, program: Program) -> None:
        """Start the program in a new session that ends with this process. Raises ProgramFailedError."""
        try:
            log = ProgramLog(self.log_path(program.name), self._log_limits)
            try:
                process = _Process(program, log, _spawn(program, log), time.monotonic())
            except OSError:
                log.close()
                raise
        except OSError as error:
            raise ProgramFailedError(f"{program.name} can't be started: {error}") from error
        self._processes[program.name] = process
        self._record(program.name, process.popen.pid)

    def wait_until(self, name: str, condition: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait for the condition. Raises ProgramFailedError if the program exits or time runs out."""
        deadline = time.monotonic() + timeout_s
        process = self._processes[name]
        while not condition():
            if process.popen.poll() is not None:
                raise ProgramFailedError(self.describe_failure(name))
            if time.monotonic() > deadline:
                raise ProgramFailedError(self._failure(name, f"was not ready after {timeout_s:.0f} s"))
            time.sleep(POLL_S)

    def poll(self) -> None:
        """Restart programs that have died, with exponential backoff, and writers of logs."""
        now = time.monotonic()
        for process in self._processes.values():
            with suppress(OSError):  # the next call tries again; the pipe holds the output
                process.log.ensure_writer()
            if process.restart_at is None and process.popen.poll() is not None:
                self._schedule_restart(process, now)
            if process.restart_at is not None and now >= process.restart_at:
                self._restart(process, now)

    def stop(self, name: str) -> None:
        """Stop the program gracefully, then kill the rest of its process group."""
        process = self._processes.get(name)
        if process is None:
            return
        program = process.program
        # Listed until it has exited, because a second signal may call kill_all in the meantime.
        stop_process(
            process.popen.pid,
            stop_signal=program.stop_signal,
            kill_signal=program.kill_signal,
            timeout_s=program.stop_timeout_s,
        )
        process.popen.wait()
        process.log.close()
        del self._processes[name]
        with suppress(OSError):  # a record of a process that has ended is ignored
            self._record_path(name).unlink(missing_ok=True)

    def kill_all(self) -> None:
        """Kill all programs at once."""
        for process in self._processes.values():
            _signal_group(process.popen.pid, process.program.kill_signal)

    def describe_failure(self, name: str) -> str:
        """Return how a program exited and the last lines of its log."""
        code = self._processes[name].popen.poll()
        return self._failure(name, "is not running" if code is None else _describe_exit(code))

    def _schedule_restart(self, process: _Process, now: float) -> None:
        if now - process.started_at > STABLE_S:
            process.failures = 0
        # Surviving children would keep the port or the memory.
        _signal_group(process.popen.pid, signal.SIGKILL)
        delay_s = self._back_off(process, now)
        exit_text = _describe_exit(process.popen.returncode)
        self._say(f"{process.program.name} {exit_text}; restarting in {delay_s:.0f} s")

    def _restart(self, process: _Process, now: float) -> None:
        name = process.program.name
        try:
            process.log.ensure_writer()
            process.popen = _spawn(process.program, process.log)
        except OSError as error:  # no memory, no process left, …
            delay_s = self._back_off(process, now)
            self._say(f"{name} can't be started: {error}; trying again in {delay_s:.0f} s")
            return
        process.started_at, process.restart_at = now, None
        self._record(name, process.popen.pid)

    @staticmethod
    def _back_off(process: _Process, now: float) -> float:
        process.failures += 1
        delay_s = float(min(BACKOFF_MAX_S, 0.5 * 2 ** min(process.failures, 10)))
        process.restart_at = now + delay_s
        return delay_s

    def _failure(self, name: str, reason: str) -> str:
        self._processes[name].log.settle()
        try:
            lines = self.log_path(name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            return f"{name} {reason}. Its log can't be read: {error}"
        tail = "\n".join(f"    {line}" for line in lines[-15:])
        return f"{name} {reason}. Last lines of {self.log_path(name)}:\n{tail}"

    def _record_path(self, name: str) -> Path:
        return self._run_dir / f"{name}.json"

    def _record(self, name: str, pid: int) -> None:
        record = {"pid": pid, "started": _start_time(pid)}
        try:
            write_private(self._record_path(name), json.dumps(record))
        except OSError as error:
            self._say(f"{name} runs, but its process id can't be recorded: {error}")


def _spawn(program: Program, log: ProgramLog) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        parent_bound_command(program.argv, death_signal=program.stop_signal, user=program.user),
        env=dict(program.env) if program.env else None,
        cwd=program.cwd,
        stdin=subprocess.DEVNULL,
        stdout=log.write_end,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def stop_process(
    pid: int, *, stop_signal: signal.Signals, kill_signal: signal.Signals, timeout_s: float
) -> None:
    """Send ``stop_signal``, after the timeout ``kill_signal``, then kill the rest of the process group.

    ``stop_signal`` goes to the process alone, because an engine or a pool needs its children to drain.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, stop_signal)
    deadline = time.monotonic() + timeout_s
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if _is_alive(pid):
        _signal_group(pid, kill_signal)
        time.sleep(POLL_S)
    _signal_group(pid, signal.SIGKILL)


def stop_orphans(run_dir: Path, *, timeout_s: float = ORPHAN_TIMEOUT_S) -> list[str]:
    """Stop the programs that a killed launcher left running; return their names.

    Both the process id and the start time must match the record, because process ids are reused.
    """
    names = []
    for path in sorted(run_dir.glob("*.json")):
        with suppress(ValueError, KeyError, TypeError):
            record = json.loads(path.read_text(encoding="utf-8"))
            pid, start_time = int(record["pid"]), float(record["started"])
            if _start_time(pid) == start_time:
                stop_process(pid, stop_signal=signal.SIGTERM, kill_signal=signal.SIGKILL, timeout_s=timeout_s)
                names.append(path.stem)
        path.unlink(missing_ok=True)
    return names


def _start_time(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal_group(pid: int, signal_number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal_number)


def _describe_exit(returncode: int) -> str:
    if returncode < 0:
        return f"was terminated by {signal.Signals(-returncode).name}"
    return f"exited with status {returncode}"
