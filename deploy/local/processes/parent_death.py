"""Starts a program that ends when its parent does: ``parent_death.py SIGNAL PARENT UID GID -- PROGRAM …``.

Run as a script without site packages; it replaces itself with the program, so it costs no process.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
EXIT_NO_PARENT = 125
EXIT_NO_PROGRAM = 127


def _bind_to_parent(signal_number: int, parent: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the call took effect
        sys.exit(EXIT_NO_PARENT)


def _become(uid: int, gid: int) -> None:
    if uid < 0:
        return
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: list[str]) -> None:
    """Drop to the user (``-1``: stay), bind to the parent, become the program."""
    signal_number, parent, uid, gid = (int(argument) for argument in arguments[:4])
    program = arguments[5:]
    _become(uid, gid)
    # after the change of user: the kernel forgets the parent-death signal when credentials change
    _bind_to_parent(signal_number, parent)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        print(f"{program[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(EXIT_NO_PROGRAM)


if __name__ == "__main__":
    main(sys.argv[1:])
