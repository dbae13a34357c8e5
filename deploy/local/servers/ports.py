"""TCP ports on the loopback interface."""

from __future__ import annotations

import random
import socket

import psutil

LOOPBACK = "127.0.0.1"
SERVER_PORTS = (20_000, 32_000)


class PortBusyError(Exception):
    """A port is in use; the text names the process that listens on it, if the system reveals it."""


def free_port() -> int:
    """Return a port on which nothing listens.

    The port is below the range of ephemeral ports, so that it stays free while its server restarts.
    """
    while True:
        port = random.randrange(*SERVER_PORTS)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        return port


def require_free_port(port: int, *, setting: str) -> None:
    """Check that a server can listen on the port. Raises PortBusyError with the remedy."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            owner = _owner(port)
            reason = f"in use by process {owner}" if owner else (error.strerror or str(error))
            raise PortBusyError(
                f"Can't listen on port {port} of {LOOPBACK}: {reason}. "
                f"Stop that process, or use another port: {setting}={port + 1} make run"
            ) from None


def _owner(port: int) -> str | None:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            is_owner = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:] == (port,)
            if is_owner and connection.pid:
                return f"{connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:  # some systems hide the sockets of other users
        return None
    return None
