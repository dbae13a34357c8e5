"""Ports for servers that tests start later than they choose the address."""

from __future__ import annotations

import socket

from deploy.local.servers.ports import LOOPBACK, free_port


def reserved_port() -> int:
    """Return a free port that no other test process will choose.

    A socket stays bound to it without listening. That keeps ``free_port`` away, but not a server, which sets
    SO_REUSEADDR.
    """
    while True:
        reservation = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            reservation.bind((LOOPBACK, free_port()))
        except OSError:
            reservation.close()
            continue
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = int(reservation.getsockname()[1])
        reservation.detach()  # open until the process ends
        return port
