"""TCP ports on the loopback interface: which are free, and who holds one that is not."""

from __future__ import annotations

import random
import socket

import psutil

LOOPBACK = "127.0.0.1"
SERVER_PORTS = (20_000, 32_000)


class PortBusyError(Exception):
    """The port can't be listened on; the text says who has it, where that can be known."""


def free_port() -> int:
    """A port that nobody listens on at this moment.

    Below the range from which systems take ports for outgoing connections: a server that is stopped must
    find its port free when it starts again.
    """
    while True:
        port = random.randrange(*SERVER_PORTS)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        return port


def listening(port: int) -> bool:
    """Whether somebody accepts connections on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0


def port_check(port: int, *, setting: str) -> None:
    """Make sure that the port can be listened on. Raises PortBusyError that names the remedy."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            who = _owner(port)
            holder = f"process {who} has it" if who else (error.strerror or str(error))
            raise PortBusyError(
                f"Port {port} on {LOOPBACK} can't be used: {holder}. "
                f"Stop that, or choose another port: {setting}={port + 1} make run"
            ) from None


def _owner(port: int) -> str | None:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:] == (port,)
            if listens and connection.pid:
                return f"{connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:  # other people's sockets can't be looked into on every system
        return None
    return None
