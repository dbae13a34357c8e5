"""Runs a program that receives a signal when its parent dies.

Usage: parent_death.py SIGNAL PARENT_PID UID GID -- PROGRAM …
It runs without site packages and replaces itself with the program, so no extra process remains.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
EXIT_NO_PARENT = 125
EXIT_NO_PROGRAM = 127


def _set_parent_death_signal(signal_number: int, parent: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # the parent died before the call took effect
        sys.exit(EXIT_NO_PARENT)


def _switch_user(uid: int, gid: int) -> None:
    if uid < 0:
        return
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: list[str]) -> None:
    """Switch to the user unless the uid is ``-1``, set the parent death signal, execute the program."""
    signal_number, parent, uid, gid = (int(argument) for argument in arguments[:4])
    program = arguments[5:]
    _switch_user(uid, gid)
    # last, because the kernel clears the parent death signal when credentials change
    _set_parent_death_signal(signal_number, parent)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        print(f"{program[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(EXIT_NO_PROGRAM)


if __name__ == "__main__":
    main(sys.argv[1:])
