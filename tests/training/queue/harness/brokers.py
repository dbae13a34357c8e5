"""Message brokers that tests can stop and start: Valkey, and RabbitMQ where it is installed."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from kombu import Connection
from kombu.exceptions import OperationalError

from deploy.local.processes.supervisor import Program
from deploy.local.servers.valkey import EmbeddedValkey
from tests.ports import reserved_port
from tests.stacks import Service

# Debian's wrapper in the PATH insists on an account of its own.
DEBIAN_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
RABBITMQ = str(DEBIAN_RABBITMQ) if DEBIAN_RABBITMQ.exists() else shutil.which("rabbitmq-server")


def valkey_broker(folder: Path) -> tuple[Service, str]:
    """Return a Valkey and its address."""
    server = EmbeddedValkey(
        data_dir=folder / "broker", port=reserved_port(), password=secrets.token_urlsafe(16), fsync="no"
    )
    return Service(server.program(), server.is_ready, folder / "broker.log"), server.url


def rabbitmq_broker(folder: Path) -> tuple[Service, str]:
    """Return a RabbitMQ and its address."""
    assert RABBITMQ is not None
    port = reserved_port()
    environment = {
        **os.environ,
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"cyllm-{port}@localhost",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "broker.pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(reserved_port()),
        "ERL_EPMD_PORT": str(reserved_port()),
    }
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    program = Program(name="rabbitmq", argv=[RABBITMQ], env=environment)
    return Service(program, lambda: _answers(url), folder / "broker.log"), url


def stop_name_server(broker: Service) -> None:
    """Stop Erlang's name server, which RabbitMQ leaves behind."""
    if port := broker.program.env.get("ERL_EPMD_PORT"):
        subprocess.run(["epmd", "-port", port, "-kill"], check=False, capture_output=True)


def _answers(url: str) -> bool:
    try:
        with Connection(url, connect_timeout=1) as connection:
            connection.connect()
    except (OperationalError, OSError):
        return False
    return True
