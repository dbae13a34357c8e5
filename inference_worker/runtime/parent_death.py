"""Processes that end with their parent, however it dies.

``bind_children_to_parent`` covers what a process forks, or spawns with multiprocessing.
``parent_bound_command`` covers any other program: this file, run as a script, binds itself and then becomes
the program, so no extra process remains. It runs without site packages: import the standard library only.

Usage: parent_death.py SIGNAL PARENT_PID UID GID -- PROGRAM …
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
POLL_S = 0.5
EXIT_NO_PARENT = 125
EXIT_NO_PROGRAM = 127
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PACKAGE_FOLDER = str(Path(__file__).resolve().parents[2])


def bind_to_parent(parent: int, *, death_signal: int = signal.SIGKILL, by_thread: bool = False) -> None:
    """Send ``death_signal`` to this process when its parent dies, and exit now if that has happened.

    The kernel's signal comes when the *thread* that created this process ends. If that is not the parent's
    main thread, pass ``by_thread``: a thread of this process then watches the parent instead.
    """
    if by_thread or _LIBC is None:
        watch = threading.Thread(target=_watch, args=(parent, death_signal), name="parent", daemon=True)
        watch.start()
    elif _LIBC.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the call took effect
        os._exit(EXIT_NO_PARENT)


def _watch(parent: int, death_signal: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os.kill(os.getpid(), death_signal)


# ---- children of multiprocessing and os.fork ----


class _Fork(threading.local):
    """The process and thread that fork, as seen by the child."""

    parent = 0
    by_thread = False


_fork = _Fork()
_bound_process = 0


def bind_children_to_parent() -> None:
    """Kill every process that this one forks or spawns from now on when this one dies. Idempotent.

    Their own children are bound to them in turn. The resource tracker is left alone: it ends by itself, after
    it has removed what dead processes left behind.
    """
    global _bound_process
    if _bound_process:
        return
    _bound_process = os.getpid()
    from multiprocessing import spawn

    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)
    command_line = spawn.get_command_line

    def bound_command_line(**options: Any) -> list[str]:
        command: list[str] = command_line(**options)
        position = command.index("-c") + 1
        command[position] = f"{_bootstrap()}; {command[position]}"
        return command

    # multiprocessing has no hook for the child's first statement.
    spawn.get_command_line = bound_command_line


def start_bound(parent: int, by_thread: bool) -> None:
    """Bind a spawned process to its parent, and its children to it."""
    bind_to_parent(parent, by_thread=by_thread)
    bind_children_to_parent()


def _bootstrap() -> str:
    # multiprocessing replaces sys.path right afterwards
    path = f"import sys; sys.path.append({_PACKAGE_FOLDER!r})"
    return f"{path}; from {__name__} import start_bound; start_bound({os.getpid()}, {not _in_main_thread()})"


def _in_main_thread() -> bool:
    return sys.platform != "linux" or threading.get_native_id() == os.getpid()


def _before_fork() -> None:
    _fork.parent, _fork.by_thread = os.getpid(), not _in_main_thread()


def _after_fork() -> None:
    bind_to_parent(_fork.parent, by_thread=_fork.by_thread)


# ---- other programs ----


def parent_bound_command(
    argv: Sequence[str],
    *,
    death_signal: signal.Signals = signal.SIGTERM,
    user: tuple[int, int] | None = None,
) -> list[str]:
    """Return a command line that runs ``argv`` and signals it when this process dies.

    ``user``: numeric uid and gid to switch to. Run the command from the main thread.
    """
    uid, gid = user or (-1, -1)
    # The script switches the user itself, because the other user may not be able to read Python.
    script = (sys.executable, "-I", "-S", str(Path(__file__).resolve()))
    return [*script, str(int(death_signal)), str(os.getpid()), str(uid), str(gid), "--", *argv]


def _switch_user(uid: int, gid: int) -> None:
    if uid < 0:
        return
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: list[str]) -> None:
    """Switch to the user unless the uid is ``-1``, bind to the parent, execute the program."""
    signal_number, parent, uid, gid = (int(argument) for argument in arguments[:4])
    program = arguments[5:]
    _switch_user(uid, gid)
    # last, because the kernel clears the parent death signal when credentials change
    if _LIBC is not None:
        bind_to_parent(parent, death_signal=signal_number)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        print(f"{program[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(EXIT_NO_PROGRAM)


if __name__ == "__main__":
    main(sys.argv[1:])
