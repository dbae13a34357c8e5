"""Busy ports are reported."""

from __future__ import annotations

import os
import socket

import pytest

from deploy.local.servers.ports import PortBusyError, free_port, require_free_port


def test_a_busy_port_is_reported_with_its_owner_and_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortBusyError) as failure:
            require_free_port(port, setting="CYLLM_PORT")
    message = str(failure.value)
    assert f"port {port} of" in message
    assert f"process {os.getpid()} (" in message
    assert f"CYLLM_PORT={port + 1} make run" in message


def test_a_free_port_passes() -> None:
    require_free_port(free_port(), setting="CYLLM_PORT")
